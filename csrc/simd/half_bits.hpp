// bfloat16 in plain C++: the upper half of a float32.
//
// In an anonymous namespace, as all that files with an instruction set's flags include
// (isa.inl.hpp).
#pragma once

#include <cstdint>
#include <cstring>

namespace {

// To the nearest, halves to even; a NaN stays one.
[[maybe_unused]] inline std::uint16_t to_bf16(float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  bits += 0x7fff + (bits >> 16 & 1);
  return static_cast<std::uint16_t>(bits >> 16);
}

[[maybe_unused]] inline float from_bf16(std::uint32_t upper) {
  const std::uint32_t bits = upper << 16;
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

}  // namespace
