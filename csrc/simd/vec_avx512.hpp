// The AVX-512 path (F, VL, DQ, BW: Skylake-X and Zen 4 onwards): 16 floats, 8 doubles.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace {

struct Vec {
  static constexpr const char* name = "avx512";
  static constexpr int lanes = 16;
  static constexpr int wide_lanes = 8;
  using Float = __m512;
  using Count = __m512i;
  using Wide = __m512d;

  static __mmask16 first(int n) { return static_cast<__mmask16>((1u << n) - 1); }
  static __mmask8 first_wide(int n) { return static_cast<__mmask8>((1u << n) - 1); }

  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static Float load_or_nan(const float* p, int n) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(__builtin_nanf("")), first(n), p);
  }
  static Float splat(float x) { return _mm512_set1_ps(x); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static float sum(Float v) { return _mm512_reduce_add_ps(v); }

  static Count no_counts() { return _mm512_setzero_si512(); }
  static Count load_counts(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Count load_counts(const std::int32_t* p, int n) {
    return _mm512_maskz_loadu_epi32(first(n), p);
  }
  static void store_counts(std::int32_t* p, Count v) { _mm512_storeu_si512(p, v); }
  static void store_counts(std::int32_t* p, Count v, int n) {
    _mm512_mask_storeu_epi32(p, first(n), v);
  }
  static Count add(Count a, Count b) { return _mm512_add_epi32(a, b); }
  static std::int32_t sum(Count v) { return _mm512_reduce_add_epi32(v); }
  static Count add_zero(Count counts, Float x) {
    const __mmask16 zero =
        _mm512_testn_epi32_mask(_mm512_castps_si512(x), _mm512_set1_epi32(0x7fffffff));
    return _mm512_mask_add_epi32(counts, zero, counts, _mm512_set1_epi32(1));
  }
  static Count add_not_positive(Count counts, Float x, Float scale, Float shift) {
    const Float y = _mm512_add_ps(_mm512_mul_ps(scale, x), shift);
    const __mmask16 off = _mm512_cmp_ps_mask(y, _mm512_setzero_ps(), _CMP_LE_OQ);
    return _mm512_mask_add_epi32(counts, off, counts, _mm512_set1_epi32(1));
  }

  static Wide no_sum() { return _mm512_setzero_pd(); }
  static Wide splat(double x) { return _mm512_set1_pd(x); }
  static Wide widen(const float* p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
  static Wide widen(const float* p, int n) {
    return _mm512_cvtps_pd(_mm256_maskz_loadu_ps(first_wide(n), p));
  }
  // Load and expand apart: expanding from memory is microcoded on some cores.
  static Wide widen_expanded(const float* p, unsigned mask, int n) {
    const __m256 packed = _mm256_maskz_loadu_ps(first_wide(n), p);
    return _mm512_cvtps_pd(_mm256_maskz_expand_ps(static_cast<__mmask8>(mask), packed));
  }
  static Wide fma(Wide a, Wide b, Wide c) { return _mm512_fmadd_pd(a, b, c); }
  static Wide mul(Wide a, Wide b) { return _mm512_mul_pd(a, b); }
  static double sum(Wide v) { return _mm512_reduce_add_pd(v); }
  static void narrow(float* p, Wide v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
  static void narrow(float* p, Wide v, int n) {
    _mm256_mask_storeu_ps(p, first_wide(n), _mm512_cvtpd_ps(v));
  }
  // Writes all 8 lanes: `to` needs room for 8 beyond what is kept.
  static void compress(float* to, const float* from, unsigned mask) {
    const __mmask8 kept = static_cast<__mmask8>(mask);
    _mm256_storeu_ps(to, _mm256_maskz_compress_ps(kept, _mm256_loadu_ps(from)));
  }
  static void compress(float* to, const float* from, unsigned mask, int n) {
    const __m256 part = _mm256_maskz_loadu_ps(first_wide(n), from);
    _mm256_storeu_ps(to, _mm256_maskz_compress_ps(static_cast<__mmask8>(mask), part));
  }
};

}  // namespace
