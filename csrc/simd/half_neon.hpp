// Half precision by BFDOT (Armv8.6, optional from Armv8.2 on): two products a lane and instruction,
// by lane as the float32 path's. Denormal numbers count as zero.
#pragma once

#include "simd/vec_neon.hpp"

namespace {

struct HalfVec : Vec {
  static constexpr const char* type = "bf16";
  using Vec::store;
  static void store(std::uint16_t* p, Float v) {
    vst1_u16(p, vreinterpret_u16_bf16(vcvt_bf16_f32(v)));
  }
  static void store_pairs(float* p, Float first, Float second) {
    const uint16x4x2_t pairs = vzip_u16(vreinterpret_u16_bf16(vcvt_bf16_f32(first)),
                                        vreinterpret_u16_bf16(vcvt_bf16_f32(second)));
    vst1q_f32(p, vreinterpretq_f32_u16(vcombine_u16(pairs.val[0], pairs.val[1])));
  }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return vbfdotq_laneq_f32(sum, vreinterpretq_bf16_f32(b), vreinterpretq_bf16_f32(a), i);
  }
  static Float fma_one(Float sum, Float b, const float* a) {
    return vbfdotq_f32(sum, vreinterpretq_bf16_f32(b), vreinterpretq_bf16_f32(vld1q_dup_f32(a)));
  }
};

}  // namespace
