// Half precision, compiled for AVX512-BF16: see CMakeLists.txt for this file's flags.
#include "simd/half_avx512.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/half.simd.hpp"

namespace pyedge {

const HalfKernels half_avx512 = make_half_kernels();

}  // namespace pyedge
