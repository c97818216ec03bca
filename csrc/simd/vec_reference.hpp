// The plain path: a "vector" of one lane, so that the one source of each kernel reads as the
// textbook loop. Every other path is tested against it, and CPUs without one of them run it.
#pragma once

#include <cstdint>
#include <cstring>

namespace {

struct Vec {
  static constexpr const char* name = "reference";
  static constexpr int lanes = 1;
  static constexpr int wide_lanes = 1;
  using Float = float;
  using Count = std::int32_t;
  using Wide = double;

  static Float load(const float* p) { return *p; }
  static Float load_or_nan(const float* p, int) { return *p; }
  static Float splat(float x) { return x; }
  static Float add(Float a, Float b) { return a + b; }
  static float sum(Float v) { return v; }

  static Count no_counts() { return 0; }
  static Count load_counts(const std::int32_t* p) { return *p; }
  static Count load_counts(const std::int32_t* p, int) { return *p; }
  static void store_counts(std::int32_t* p, Count v) { *p = v; }
  static void store_counts(std::int32_t* p, Count v, int) { *p = v; }
  static Count add(Count a, Count b) { return a + b; }
  static std::int32_t sum(Count v) { return v; }
  // Zero is told by its bits (both signs), so no denormals-are-zero mode can change the count.
  static Count add_zero(Count counts, Float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    return counts + (bits << 1 == 0);
  }
  // Two roundings, as torch and numpy do it: a fused multiply-add would count other elements.
  static Count add_not_positive(Count counts, Float x, Float scale, Float shift) {
    const float product = scale * x;
    return counts + (product + shift <= 0.0f);
  }

  static Wide no_sum() { return 0.0; }
  static Wide splat(double x) { return x; }
  static Wide widen(const float* p) { return *p; }
  static Wide widen(const float* p, int) { return *p; }
  static Wide widen_expanded(const float* p, unsigned mask, int) { return mask ? *p : 0.0; }
  static Wide fma(Wide a, Wide b, Wide c) { return a * b + c; }
  static Wide mul(Wide a, Wide b) { return a * b; }
  static double sum(Wide v) { return v; }
  static void narrow(float* p, Wide v) { *p = static_cast<float>(v); }
  static void narrow(float* p, Wide v, int) { *p = static_cast<float>(v); }
  static void compress(float* to, const float* from, unsigned mask) {
    if (mask) *to = *from;
  }
  static void compress(float* to, const float* from, unsigned mask, int) {
    compress(to, from, mask);
  }
};

}  // namespace
