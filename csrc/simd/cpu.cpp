// CPU detection on x86: features from cpuid, register state from xgetbv.
#include "simd/cpu.hpp"

#if defined(__x86_64__)
#include <cpuid.h>

#include <cstdint>

namespace pyedge {
namespace {

struct Registers {
  unsigned a = 0, b = 0, c = 0, d = 0;
};

Registers cpuid(unsigned leaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, 0, &r.a, &r.b, &r.c, &r.d)) return {};
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

}  // namespace pyedge

#else

namespace pyedge {

bool cpu_has_avx2() {
  return false;
}
bool cpu_has_avx512() {
  return false;
}

}  // namespace pyedge

#endif
