// The tables that the translation units isa_*.cpp, half_*.cpp and int8_*.cpp define, one for each
// instruction set.
#pragma once

#include "kernels/dispatch/half_kernels.hpp"
#include "kernels/dispatch/int8_kernels.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

extern const KernelTable reference_table;
extern const HalfKernels half_reference;
extern const Int8Kernels int8_reference;
#if defined(__x86_64__)
extern const KernelTable avx2_table;
extern const KernelTable avx512_table;
#elif defined(__aarch64__)
extern const KernelTable neon_table;
#endif
// where the compiler knows the instructions (CMakeLists.txt)
#if defined(PYEDGE_HALF_AVX512)
extern const HalfKernels half_avx512;
#elif defined(PYEDGE_HALF_NEON)
extern const HalfKernels half_neon;
#endif
#if defined(PYEDGE_INT8_AVX512)
extern const Int8Kernels int8_avx512;
#elif defined(PYEDGE_INT8_NEON)
extern const Int8Kernels int8_neon;
#endif

}  // namespace pyedge
