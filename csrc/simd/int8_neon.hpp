// 8-bit products by SDOT (optional from Armv8.2, in every Armv8.4): four a lane and instruction, of
// signed numbers, by lane as the float32 path's.
#pragma once

#include "simd/vec_neon.hpp"

namespace {

struct Int8Vec : Vec {
  static constexpr const char* type = "dotprod";
  static constexpr std::int32_t less = 128;
  using Float = int32x4_t;  // sums and quads
  using Vec::hold;
  static void hold(Float& x) { asm volatile("" : "+w"(x) : : "memory"); }
  static Float load(const float* p) { return vreinterpretq_s32_f32(vld1q_f32(p)); }
  static Float zero() { return vdupq_n_s32(0); }
  // of whole numbers and halves between them; a NaN counts as zero
  static void store_bytes(std::uint8_t* p, Vec::Float v, std::int32_t add) {
    const int32x4_t whole = vaddq_s32(vcvtnq_s32_f32(v), vdupq_n_s32(add));
    const int16x4_t half = vmovn_s32(whole);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(half, half));
    const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(bytes), 0);
    __builtin_memcpy(p, &four, sizeof four);
  }
  static Vec::Float to_float(Float sum, Float offset) {
    return vcvtq_f32_s32(vaddq_s32(sum, offset));
  }
  static Float fma_one(Float sum, Float b, const float* a) {
    return vdotq_s32(sum, vreinterpretq_s8_s32(b), vreinterpretq_s8_f32(vld1q_dup_f32(a)));
  }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return vdotq_laneq_s32(sum, vreinterpretq_s8_s32(b), vreinterpretq_s8_f32(a), i);
  }
};

}  // namespace
