// The kernels, compiled for reference: see CMakeLists.txt for this file's flags.
#include "simd/vec_reference.hpp"

#include "simd/isa.inl.hpp"

namespace pyedge {

const KernelTable reference_table = make_table();

}  // namespace pyedge
