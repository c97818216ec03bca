// Half precision on the plain path: bfloat16, emulated. What the instruction sets' products are
// tested against, on any CPU.
#pragma once

#include "simd/half_bits.hpp"
#include "simd/vec_reference.hpp"

namespace {

struct HalfVec : Vec {
  static constexpr const char* type = "bf16";
  using Vec::store;
  static void store(std::uint16_t* p, Float v) { *p = to_bf16(v); }
  static void store_pairs(float* p, Float first, Float second) {
    const std::uint32_t pair = to_bf16(first) | std::uint32_t{to_bf16(second)} << 16;
    std::memcpy(p, &pair, sizeof pair);
  }
  // sum + a pair's two products; the pairs are bits in the place of floats
  static Float add_pair(Float sum, const float* b, const float* a) {
    std::uint32_t x, y;
    std::memcpy(&x, a, sizeof x);
    std::memcpy(&y, b, sizeof y);
    sum += from_bf16(x & 0xffff) * from_bf16(y & 0xffff);
    return sum + from_bf16(x >> 16) * from_bf16(y >> 16);
  }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return add_pair(sum, &b, a + i);
  }
  static Float fma_one(Float sum, Float b, const float* a) { return add_pair(sum, &b, a); }
};

}  // namespace
