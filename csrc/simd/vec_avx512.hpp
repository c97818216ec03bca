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

  static Float zero() { return _mm512_setzero_ps(); }
  static void store(float* p, Float v) { _mm512_storeu_ps(p, v); }
  // past the caches; p: aligned. Other threads see it behind stream_end().
  static constexpr int patch_rows = 2;  // of a depthwise convolution's outputs at a time
  static constexpr bool streams = true;
  static void stream(float* p, Float v) { _mm512_stream_ps(p, v); }
  static void stream_end() { _mm_sfence(); }
  static Float sub(Float a, Float b) { return _mm512_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Float div(Float a, Float b) { return _mm512_div_ps(a, b); }
  static Float sqrt(Float a) { return _mm512_sqrt_ps(a); }
  // x where it lies in [low, high]; a NaN stays one (the second operand wins)
  static Float clamp(Float x, Float low, Float high) {
    return _mm512_min_ps(high, _mm512_max_ps(low, x));
  }
  static Float max(Float a, Float b) { return _mm512_max_ps(a, b); }
  // gradient where low < x < high, else 0
  static Float inside(Float gradient, Float x, Float low, Float high) {
    const __mmask16 above = _mm512_cmp_ps_mask(x, low, _CMP_GT_OQ);
    return _mm512_maskz_mov_ps(_mm512_mask_cmp_ps_mask(above, x, high, _CMP_LT_OQ), gradient);
  }
  // the same in two steps, with a bit a lane to keep in between
  using Bits = std::uint16_t;
  static Bits inside_bits(Float x, Float low, Float high) {
    const __mmask16 above = _mm512_cmp_ps_mask(x, low, _CMP_GT_OQ);
    return _mm512_mask_cmp_ps_mask(above, x, high, _CMP_LT_OQ);
  }
  static Float keep(Float gradient, Bits on) { return _mm512_maskz_mov_ps(on, gradient); }
  // the first n lanes, zeros behind them
  static Float keep_first(Float v, int n) { return _mm512_maskz_mov_ps(first(n), v); }
  // a where x == y, else 0
  static Float where_equal(Float a, Float x, Float y) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, y, _CMP_EQ_OQ), a);
  }
  // a number whose sign and exponent are x's last nine bits
  static Float exponent(Float x) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(x), 23));
  }
  static Float load_half(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Float load_int8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static Float load_int16(const std::int16_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))));
  }
  // of whole numbers within its range
  static void store_int16(std::int16_t* p, Float v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(v)));
  }
  static float largest(Float v) { return _mm512_reduce_max_ps(v); }
  // whether one of them is above 0 in a lane where the other is not
  static bool sides_differ(Float a, Float b) {
    return _mm512_cmp_ps_mask(a, zero(), _CMP_GT_OQ) != _mm512_cmp_ps_mask(b, zero(), _CMP_GT_OQ);
  }

  // The micro-kernels' tile: 14 x 2 accumulators, 2 vectors of weights and a broadcast take 31 of
  // 32 registers; 2 FMA ports x 4 cycles of latency want 8 accumulators or more.
  static constexpr int tile_rows = 14;
  static constexpr int tile_vectors = 2;
  static constexpr bool by_lane = false;
  using Quad = const float*;  // FMA broadcasts from memory
  static Quad load_quad(const float* p) { return p; }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return _mm512_fmadd_ps(_mm512_set1_ps(a[i]), b, sum);
  }
  static Float fma_one(Float sum, Float b, const float* a) {
    return _mm512_fmadd_ps(_mm512_set1_ps(*a), b, sum);
  }

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
  static Wide load_wide(const double* p) { return _mm512_loadu_pd(p); }
  static void store_wide(double* p, Wide v) { _mm512_storeu_pd(p, v); }
  // The second moments' tile: 24 accumulators, 3 vectors of columns and a broadcast.
  static constexpr int moment_rows = 8;
  static constexpr int moment_vectors = 3;
  static constexpr int wide_parts = 2;  // Wides in a Float
  static void widen_all(Wide (&to)[2], Float v) {
    to[0] = _mm512_cvtps_pd(_mm512_castps512_ps256(v));
    to[1] = _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
  }
  static void narrow(float* p, Wide v) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(v)); }
  static void narrow(float* p, Wide v, int n) {
    _mm256_mask_storeu_ps(p, first_wide(n), _mm512_cvtpd_ps(v));
  }
  // Stores wide_lanes floats: the next ones of `from` where the mask is on, zeros elsewhere.
  static void expand(float* to, const float* from, unsigned mask) {
    const __m256 packed = _mm256_loadu_ps(from);
    _mm256_storeu_ps(to, _mm256_maskz_expand_ps(static_cast<__mmask8>(mask), packed));
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
