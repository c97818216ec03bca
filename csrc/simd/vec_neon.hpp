// The NEON path (every aarch64): 4 floats, and 4 doubles as a pair of registers.
// There are no masked loads or stores: parts of a vector go lane by lane. (Through an array on the
// stack, compilers called memcpy, around which the loops' sums went to the stack too.)
#pragma once

#include <arm_neon.h>

#include <cstdint>

#include "simd/shuffles4.hpp"

namespace {

constexpr std::uint32_t lane_on = 0xffffffff;
// by the bits of four lanes
constexpr std::uint32_t lane_masks[16][4] = {{0, 0, 0, 0},
                                             {lane_on, 0, 0, 0},
                                             {0, lane_on, 0, 0},
                                             {lane_on, lane_on, 0, 0},
                                             {0, 0, lane_on, 0},
                                             {lane_on, 0, lane_on, 0},
                                             {0, lane_on, lane_on, 0},
                                             {lane_on, lane_on, lane_on, 0},
                                             {0, 0, 0, lane_on},
                                             {lane_on, 0, 0, lane_on},
                                             {0, lane_on, 0, lane_on},
                                             {lane_on, lane_on, 0, lane_on},
                                             {0, 0, lane_on, lane_on},
                                             {lane_on, 0, lane_on, lane_on},
                                             {0, lane_on, lane_on, lane_on},
                                             {lane_on, lane_on, lane_on, lane_on}};

struct Vec {
  static constexpr const char* name = "neon";
  static constexpr int lanes = 4;
  static constexpr int wide_lanes = 4;
  using Float = float32x4_t;
  using Count = int32x4_t;
  struct Wide {
    float64x2_t low, high;
  };

  static Float load(const float* p) { return vld1q_f32(p); }
  static Float load_or_nan(const float* p, int n) { return load_or(p, n, __builtin_nanf("")); }
  static Float splat(float x) { return vdupq_n_f32(x); }
  static Float add(Float a, Float b) { return vaddq_f32(a, b); }
  static float sum(Float v) { return vaddvq_f32(v); }

  static Float zero() { return vdupq_n_f32(0.0f); }
  static void store(float* p, Float v) { vst1q_f32(p, v); }
  static constexpr int patch_rows = 1;  // of a depthwise convolution's outputs at a time
  static constexpr bool streams = false;
  static Float sub(Float a, Float b) { return vsubq_f32(a, b); }
  static Float mul(Float a, Float b) { return vmulq_f32(a, b); }
  static Float fma(Float a, Float b, Float c) { return vfmaq_f32(c, a, b); }
  static Float div(Float a, Float b) { return vdivq_f32(a, b); }
  static Float sqrt(Float a) { return vsqrtq_f32(a); }
  // x where it lies in [low, high]; a NaN stays one
  static Float clamp(Float x, Float low, Float high) { return vminq_f32(vmaxq_f32(x, low), high); }
  static Float max(Float a, Float b) { return vmaxq_f32(a, b); }
  // gradient where low < x < high, else 0
  static Float inside(Float gradient, Float x, Float low, Float high) {
    const uint32x4_t on = vandq_u32(vcgtq_f32(x, low), vcltq_f32(x, high));
    return vreinterpretq_f32_u32(vandq_u32(on, vreinterpretq_u32_f32(gradient)));
  }
  // the same in two steps, with a bit a lane to keep in between
  using Bits = std::uint8_t;
  static Bits inside_bits(Float x, Float low, Float high) {
    const uint32x4_t on = vandq_u32(vcgtq_f32(x, low), vcltq_f32(x, high));
    const uint32x4_t each = {1, 2, 4, 8};
    return static_cast<Bits>(vaddvq_u32(vandq_u32(on, each)));
  }
  // By a table: a vector of the lanes' bits would be held in a register, which Winograd's output
  // has not.
  static Float keep(Float gradient, Bits on) {
    const uint32x4_t found = vld1q_u32(lane_masks[on]);
    return vreinterpretq_f32_u32(vandq_u32(found, vreinterpretq_u32_f32(gradient)));
  }
  // the first n lanes, zeros behind them
  static Float keep_first(Float v, int n) {
    const uint32x4_t lane = {0, 1, 2, 3};
    const uint32x4_t on = vcltq_u32(lane, vdupq_n_u32(static_cast<std::uint32_t>(n)));
    return vreinterpretq_f32_u32(vandq_u32(on, vreinterpretq_u32_f32(v)));
  }
  // a where x == y, else 0
  static Float where_equal(Float a, Float x, Float y) {
    return vreinterpretq_f32_u32(vandq_u32(vceqq_f32(x, y), vreinterpretq_u32_f32(a)));
  }
  // a number whose sign and exponent are x's last nine bits
  static Float exponent(Float x) {
    return vreinterpretq_f32_u32(vshlq_n_u32(vreinterpretq_u32_f32(x), 23));
  }
  static Float load_half(const std::uint16_t* p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
  }
  static Float load_int8(const std::int8_t* p) {
    std::int32_t four;
    __builtin_memcpy(&four, p, 4);
    const int16x8_t half = vmovl_s8(vcreate_s8(static_cast<std::uint32_t>(four)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(half)));
  }
  static Float load_int16(const std::int16_t* p) { return vcvtq_f32_s32(vmovl_s16(vld1_s16(p))); }
  // of whole numbers within its range
  static void store_int16(std::int16_t* p, Float v) { vst1_s16(p, vqmovn_s32(vcvtnq_s32_f32(v))); }
  static float largest(Float v) { return vmaxvq_f32(v); }
  // whether one of them is above 0 in a lane where the other is not
  static bool sides_differ(Float a, Float b) {
    return vmaxvq_u32(veorq_u32(vcgtzq_f32(a), vcgtzq_f32(b))) != 0;
  }

  // The micro-kernels' tile: 8 x 2 accumulators, 8 quads of inputs and 2 vectors of weights take
  // 26 of 32 registers. Inputs are multiplied by lane: one load feeds four multiply-adds a vector.
  static constexpr int tile_rows = 8;
  static constexpr int tile_vectors = 2;
  static constexpr bool by_lane = true;
  using Quad = float32x4_t;
  static Quad load_quad(const float* p) { return vld1q_f32(p); }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return vfmaq_laneq_f32(sum, b, a, i);
  }
  // Instructions that do not exist and keep their order: nothing that makes or uses x, and no load,
  // moves across hold; no load moves across hold_loads.
  static void hold(Float& x) { asm volatile("" : "+w"(x) : : "memory"); }
  static void hold(std::int64_t& i) { asm volatile("" : "+r"(i) : : "memory"); }
  static void hold(const float*& p) { asm volatile("" : "+r"(p) : : "memory"); }
  static void hold(float*& p) { asm volatile("" : "+r"(p) : : "memory"); }
  static void hold_loads() { asm volatile("" : : : "memory"); }
  static Float fma_one(Float sum, Float b, const float* a) { return vfmaq_n_f32(sum, b, *a); }

  static Count no_counts() { return vdupq_n_s32(0); }
  static Count load_counts(const std::int32_t* p) { return vld1q_s32(p); }
  static Count load_counts(const std::int32_t* p, int n) {
    Count v = no_counts();
    if (n > 0) v = vld1q_lane_s32(p, v, 0);
    if (n > 1) v = vld1q_lane_s32(p + 1, v, 1);
    if (n > 2) v = vld1q_lane_s32(p + 2, v, 2);
    return v;
  }
  static void store_counts(std::int32_t* p, Count v) { vst1q_s32(p, v); }
  static void store_counts(std::int32_t* p, Count v, int n) {
    if (n > 0) vst1q_lane_s32(p, v, 0);
    if (n > 1) vst1q_lane_s32(p + 1, v, 1);
    if (n > 2) vst1q_lane_s32(p + 2, v, 2);
  }
  static Count add(Count a, Count b) { return vaddq_s32(a, b); }
  static std::int32_t sum(Count v) { return vaddvq_s32(v); }
  static Count add_zero(Count counts, Float x) {
    const uint32x4_t magnitude = vshlq_n_u32(vreinterpretq_u32_f32(x), 1);
    return vsubq_s32(counts, vreinterpretq_s32_u32(vceqzq_u32(magnitude)));
  }
  static Count add_not_positive(Count counts, Float x, Float scale, Float shift) {
    const uint32x4_t off = vclezq_f32(vaddq_f32(vmulq_f32(scale, x), shift));
    return vsubq_s32(counts, vreinterpretq_s32_u32(off));
  }

  static Wide no_sum() { return splat(0.0); }
  static Wide splat(double x) { return {vdupq_n_f64(x), vdupq_n_f64(x)}; }
  static Wide widen(const float* p) { return widen(vld1q_f32(p)); }
  static Wide widen(const float* p, int n) { return widen(load_or(p, n, 0.0f)); }
  static Wide widen_expanded(const float* p, unsigned mask, int n) {
    const uint8x16_t packed = vreinterpretq_u8_f32(load_or(p, n, 0.0f));
    return widen(vreinterpretq_f32_u8(vqtbl1q_u8(packed, vld1q_u8(shuffles4.expand[mask]))));
  }
  static Wide fma(Wide a, Wide b, Wide c) {
    return {vfmaq_f64(c.low, a.low, b.low), vfmaq_f64(c.high, a.high, b.high)};
  }
  static Wide mul(Wide a, Wide b) { return {vmulq_f64(a.low, b.low), vmulq_f64(a.high, b.high)}; }
  static double sum(Wide v) { return vaddvq_f64(vaddq_f64(v.low, v.high)); }
  static Wide load_wide(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
  static void store_wide(double* p, Wide v) {
    vst1q_f64(p, v.low);
    vst1q_f64(p + 2, v.high);
  }
  // The second moments' tile: 18 registers of sums, 6 of columns and a broadcast; with 4 rows g++
  // runs out of registers.
  static constexpr int moment_rows = 3;
  static constexpr int moment_vectors = 3;
  static constexpr int wide_parts = 1;  // Wides in a Float
  static void widen_all(Wide (&to)[1], Float v) { to[0] = widen(v); }
  static void narrow(float* p, Wide v) { vst1q_f32(p, narrowed(v)); }
  static void narrow(float* p, Wide wide, int n) {
    const Float v = narrowed(wide);
    if (n > 0) vst1q_lane_f32(p, v, 0);
    if (n > 1) vst1q_lane_f32(p + 1, v, 1);
    if (n > 2) vst1q_lane_f32(p + 2, v, 2);
  }
  // Stores wide_lanes floats: the next ones of `from` where the mask is on, zeros elsewhere.
  static void expand(float* to, const float* from, unsigned mask) {
    const uint8x16_t packed = vreinterpretq_u8_f32(vld1q_f32(from));
    vst1q_f32(to, vreinterpretq_f32_u8(vqtbl1q_u8(packed, vld1q_u8(shuffles4.expand[mask]))));
  }
  // Writes all 4 lanes: `to` needs room for 4 beyond what is all.
  static void compress(float* to, const float* from, unsigned mask) {
    store_compressed(to, vld1q_f32(from), mask);
  }
  static void compress(float* to, const float* from, unsigned mask, int n) {
    store_compressed(to, load_or(from, n, 0.0f), mask);
  }

 private:
  static Float load_or(const float* p, int n, float rest) {
    if (n == 4) return vld1q_f32(p);
    Float v = vdupq_n_f32(rest);
    if (n > 0) v = vld1q_lane_f32(p, v, 0);
    if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
    if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
    return v;
  }
  static Wide widen(Float x) { return {vcvt_f64_f32(vget_low_f32(x)), vcvt_high_f64_f32(x)}; }
  static Float narrowed(Wide v) { return vcvt_high_f32_f64(vcvt_f32_f64(v.low), v.high); }
  static void store_compressed(float* to, Float x, unsigned mask) {
    const uint8x16_t together =
        vqtbl1q_u8(vreinterpretq_u8_f32(x), vld1q_u8(shuffles4.compress[mask]));
    vst1q_f32(to, vreinterpretq_f32_u8(together));
  }
};

}  // namespace
