// What the CPU and the operating system can run. Read with cpuid itself: the compilers'
// __builtin_cpu_supports needs a run-time library that zig and some clangs do not carry.
#pragma once

namespace pyedge {

bool cpu_has_avx2();    // AVX2, FMA and F16C, registers saved by the operating system
bool cpu_has_avx512();  // F, DQ, BW, VL, registers saved by the operating system
bool cpu_has_avx512_bf16();
bool cpu_has_avx512_vnni();
// known on Linux and Android alone
bool cpu_has_neon_bf16();     // BFDOT
bool cpu_has_neon_dotprod();  // SDOT

}  // namespace pyedge
