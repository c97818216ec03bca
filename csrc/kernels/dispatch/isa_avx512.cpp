// The kernels, compiled for avx512: see CMakeLists.txt for this file's flags.
#include "simd/vec_avx512.hpp"

#include "kernels/dispatch/isa.inl.hpp"

namespace pyedge {

const KernelTable avx512_table = make_table();

}  // namespace pyedge
