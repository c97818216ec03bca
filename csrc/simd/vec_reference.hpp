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

  static Float zero() { return 0.0f; }
  static void store(float* p, Float v) { *p = v; }
  static constexpr int patch_rows = 1;  // of a depthwise convolution's outputs at a time
  static constexpr bool streams = false;
  static Float sub(Float a, Float b) { return a - b; }
  static Float mul(Float a, Float b) { return a * b; }
  static Float fma(Float a, Float b, Float c) { return a * b + c; }
  static Float div(Float a, Float b) { return a / b; }
  static Float sqrt(Float a) { return __builtin_sqrtf(a); }
  // x where it lies in [low, high]; a NaN stays one
  static Float clamp(Float x, Float low, Float high) { return x < low ? low : x > high ? high : x; }
  static Float max(Float a, Float b) { return a > b ? a : b; }
  // gradient where low < x < high, else 0
  static Float inside(Float gradient, Float x, Float low, Float high) {
    return low < x && x < high ? gradient : 0.0f;
  }
  // the same in two steps, with a bit to keep in between
  using Bits = std::uint8_t;
  static Bits inside_bits(Float x, Float low, Float high) { return low < x && x < high; }
  static Float keep(Float gradient, Bits on) { return on != 0 ? gradient : 0.0f; }
  // the first n lanes, zeros behind them
  static Float keep_first(Float v, int n) { return n > 0 ? v : 0.0f; }
  // a where x == y, else 0
  static Float where_equal(Float a, Float x, Float y) { return x == y ? a : 0.0f; }
  // a number whose sign and exponent are x's last nine bits
  static Float exponent(Float x) {
    std::uint32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    bits <<= 23;
    std::memcpy(&x, &bits, sizeof bits);
    return x;
  }
  static Float load_half(const std::uint16_t* p) {
    const std::uint32_t sign = static_cast<std::uint32_t>(*p & 0x8000) << 16;
    const std::uint32_t exponent = *p >> 10 & 31, fraction = *p & 1023;
    if (exponent == 0) {  // zero and denormals: multiples of 2^-24
      const float magnitude = static_cast<float>(fraction) * 0x1p-24f;
      return sign ? -magnitude : magnitude;
    }
    const std::uint32_t bits =
        sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
  }
  static Float load_int8(const std::int8_t* p) { return *p; }
  static Float load_int16(const std::int16_t* p) { return *p; }
  // of whole numbers within its range; a NaN becomes 0
  static void store_int16(std::int16_t* p, Float v) {
    *p = v == v ? static_cast<std::int16_t>(v) : std::int16_t{0};
  }
  static float largest(Float v) { return v; }
  // whether one of them is above 0 and the other is not
  static bool sides_differ(Float a, Float b) { return (a > 0.0f) != (b > 0.0f); }

  // The micro-kernels' tile.
  static constexpr int tile_rows = 4;
  static constexpr int tile_vectors = 1;
  static constexpr bool by_lane = false;
  using Quad = const float*;
  static Quad load_quad(const float* p) { return p; }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return a[i] * b + sum;
  }
  static Float fma_one(Float sum, Float b, const float* a) { return *a * b + sum; }

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
  static Wide load_wide(const double* p) { return *p; }
  static void store_wide(double* p, Wide v) { *p = v; }
  static constexpr int moment_rows = 2;  // of the second moments' tile
  static constexpr int moment_vectors = 4;
  static constexpr int wide_parts = 1;  // Wides in a Float
  static void widen_all(Wide (&to)[1], Float v) { to[0] = v; }
  static void narrow(float* p, Wide v) { *p = static_cast<float>(v); }
  static void narrow(float* p, Wide v, int) { *p = static_cast<float>(v); }
  // Stores wide_lanes floats: the next ones of `from` where the mask is on, zeros elsewhere.
  static void expand(float* to, const float* from, unsigned mask) { *to = mask ? *from : 0.0f; }
  static void compress(float* to, const float* from, unsigned mask) {
    if (mask) *to = *from;
  }
  static void compress(float* to, const float* from, unsigned mask, int) {
    compress(to, from, mask);
  }
};

}  // namespace
