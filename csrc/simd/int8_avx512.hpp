// 8-bit products by AVX512-VNNI: four a lane and instruction, of an unsigned and a signed number,
// at the rate of one in float32. Sums do not saturate (VPDPBUSD, not VPDPBUSDS).
#pragma once

#include "simd/vec_avx512.hpp"

namespace {

struct Int8Vec : Vec {
  static constexpr const char* type = "vnni";
  static constexpr std::int32_t less = 0;
  using Float = __m512i;  // sums and quads
  static Float load(const float* p) { return _mm512_loadu_si512(p); }
  static Float zero() { return _mm512_setzero_si512(); }
  // of whole numbers and halves between them; a NaN counts as zero
  static void store_bytes(std::uint8_t* p, Vec::Float v, std::int32_t add) {
    const __mmask16 numbers = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);
    const __m512i whole = _mm512_maskz_cvtps_epi32(numbers, v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     _mm512_cvtepi32_epi8(_mm512_add_epi32(whole, _mm512_set1_epi32(add))));
  }
  static Vec::Float to_float(Float sum, Float offset) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(sum, offset));
  }
  static Float fma_one(Float sum, Float b, const float* a) {
    return _mm512_dpbusd_epi32(sum, (__m512i)_mm512_set1_ps(*a), b);
  }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return fma_one(sum, b, a + i);
  }
};

}  // namespace
