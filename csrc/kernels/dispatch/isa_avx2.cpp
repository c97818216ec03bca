// The kernels, compiled for avx2: see CMakeLists.txt for this file's flags.
#include "simd/vec_avx2.hpp"

#include "kernels/dispatch/isa.inl.hpp"

namespace pyedge {

const KernelTable avx2_table = make_table();

}  // namespace pyedge
