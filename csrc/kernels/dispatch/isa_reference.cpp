// The kernels, compiled for reference: see CMakeLists.txt for this file's flags.
#include "simd/vec_reference.hpp"

#include "kernels/dispatch/isa.inl.hpp"

namespace pyedge {

const KernelTable reference_table = make_table();

}  // namespace pyedge
