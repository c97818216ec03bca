// CPU detection: on x86 features from cpuid and register state from xgetbv, on ARM what Linux
// tells.
#include "simd/cpu.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace pyedge {
namespace {

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf, unsigned subleaf = 0) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d)) return {};
  return r;
}

// XCR0: which register files the operating system saves when it switches threads.
std::uint64_t saved_state() {
  constexpr unsigned osxsave = 1u << 27;
  if (!(cpuid(1).c & osxsave)) return 0;
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<std::uint64_t>(high) << 32) | low;
}

bool all(std::uint64_t have, std::uint64_t want) {
  return (have & want) == want;
}

}  // namespace

bool cpu_has_avx2() {
  constexpr std::uint64_t xmm_ymm = 0x6;
  constexpr unsigned fma = 1u << 12, avx = 1u << 28, f16c = 1u << 29, avx2 = 1u << 5;
  return all(saved_state(), xmm_ymm) && all(cpuid(1).c, fma | avx | f16c) && all(cpuid(7).b, avx2);
}

bool cpu_has_avx512() {
  constexpr std::uint64_t xmm_ymm_zmm = 0xe6;
  constexpr unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31;
  return cpu_has_avx2() && all(saved_state(), xmm_ymm_zmm) && all(cpuid(7).b, f | dq | bw | vl);
}

bool cpu_has_avx512_bf16() {
  constexpr unsigned bf16 = 1u << 5;
  return cpu_has_avx512() && cpuid(7).a >= 1 && all(cpuid(7, 1).a, bf16);
}

bool cpu_has_avx512_vnni() {
  constexpr unsigned vnni = 1u << 11;
  return cpu_has_avx512() && all(cpuid(7).c, vnni);
}

bool cpu_has_neon_bf16() {
  return false;
}
bool cpu_has_neon_dotprod() {
  return false;
}

}  // namespace pyedge

#else

namespace pyedge {

bool cpu_has_avx2() {
  return false;
}
bool cpu_has_avx512() {
  return false;
}
bool cpu_has_avx512_bf16() {
  return false;
}
bool cpu_has_avx512_vnni() {
  return false;
}

bool cpu_has_neon_bf16() {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long bf16 = 1ul << 14;  // HWCAP2_BF16, which older headers do not have
  return (getauxval(AT_HWCAP2) & bf16) != 0;
#else
  return false;
#endif
}

bool cpu_has_neon_dotprod() {
#if defined(__aarch64__) && defined(__linux__)
  constexpr unsigned long dotprod = 1ul << 20;  // HWCAP_ASIMDDP
  return (getauxval(AT_HWCAP) & dotprod) != 0;
#else
  return false;
#endif
}

}  // namespace pyedge

#endif
