// 8-bit inference, compiled for AVX512-VNNI: see CMakeLists.txt for this file's flags.
#include "simd/int8_avx512.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/int8.simd.hpp"

namespace pyedge {

const Int8Kernels int8_avx512 = make_int8_kernels();

}  // namespace pyedge
