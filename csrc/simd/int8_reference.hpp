// 8-bit products on the plain path, as the unsigned instruction computes them. What the instruction
// sets' are tested against, on any CPU.
#pragma once

#include "simd/vec_reference.hpp"

namespace {

struct Int8Vec : Vec {
  static constexpr const char* type = "emulated";
  static constexpr std::int32_t less = 0;
  using Float = std::int32_t;  // a sum or a quad
  static Float load(const float* p) {
    std::int32_t bits;
    std::memcpy(&bits, p, sizeof bits);
    return bits;
  }
  static Float zero() { return 0; }
  // of whole numbers and halves between them; a NaN counts as zero
  static void store_bytes(std::uint8_t* p, Vec::Float v, std::int32_t add) {
    constexpr float whole = 12582912.0f;  // 1.5 * 2^23: from there on floats are whole numbers
    *p = static_cast<std::uint8_t>(v == v ? static_cast<std::int32_t>(v + whole - whole) + add
                                          : add);
  }
  static Vec::Float to_float(Float sum, Float offset) { return static_cast<float>(sum + offset); }
  static Float fma_one(Float sum, Float b, const float* a) {
    std::uint8_t x[4];
    std::int8_t y[4];
    std::memcpy(x, a, sizeof x);
    std::memcpy(y, &b, sizeof y);
    for (int i = 0; i < 4; ++i) sum += x[i] * y[i];
    return sum;
  }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return fma_one(sum, b, a + i);
  }
};

}  // namespace
