// The tables that the translation units isa_*.cpp define, one for each instruction set.
#pragma once

#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

extern const KernelTable reference_table;
#if defined(__x86_64__)
extern const KernelTable avx2_table;
extern const KernelTable avx512_table;
#elif defined(__aarch64__)
extern const KernelTable neon_table;
#endif

}  // namespace pyedge
