// The AVX2 + FMA path (Haswell and Zen onwards): 8 floats, 4 doubles.
#pragma once

#include <immintrin.h>

#include <cstdint>

#include "simd/shuffles4.hpp"

namespace {

// Eight lanes on, eight off: a window that starts at 8 - n has its first n lanes on.
alignas(32) constexpr std::int32_t lane_window[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

struct Vec {
  static constexpr const char* name = "avx2";
  static constexpr int lanes = 8;
  static constexpr int wide_lanes = 4;
  using Float = __m256;
  using Count = __m256i;
  using Wide = __m256d;

  static __m256i first(int n) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(lane_window + 8 - n));
  }
  static __m128i first_wide(int n) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(lane_window + 8 - n));
  }
  static __m128i shuffle(const std::uint8_t (&bytes)[16]) {
    return _mm_load_si128(reinterpret_cast<const __m128i*>(bytes));
  }

  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static Float load_or_nan(const float* p, int n) {
    const __m256i on = first(n);
    return _mm256_blendv_ps(_mm256_set1_ps(__builtin_nanf("")), _mm256_maskload_ps(p, on),
                            _mm256_castsi256_ps(on));
  }
  static Float splat(float x) { return _mm256_set1_ps(x); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static float sum(Float v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
  }

  static Float zero() { return _mm256_setzero_ps(); }
  static void store(float* p, Float v) { _mm256_storeu_ps(p, v); }
  // past the caches; p: aligned. Other threads see it behind stream_end().
  static constexpr int patch_rows = 2;  // of a depthwise convolution's outputs at a time
  static constexpr bool streams = true;
  static void stream(float* p, Float v) { _mm256_stream_ps(p, v); }
  static void stream_end() { _mm_sfence(); }
  static Float sub(Float a, Float b) { return _mm256_sub_ps(a, b); }
  static Float mul(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float fma(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  static Float div(Float a, Float b) { return _mm256_div_ps(a, b); }
  static Float sqrt(Float a) { return _mm256_sqrt_ps(a); }
  // x where it lies in [low, high]; a NaN stays one (the second operand wins)
  static Float clamp(Float x, Float low, Float high) {
    return _mm256_min_ps(high, _mm256_max_ps(low, x));
  }
  static Float max(Float a, Float b) { return _mm256_max_ps(a, b); }
  // gradient where low < x < high, else 0
  static Float inside(Float gradient, Float x, Float low, Float high) {
    const Float above = _mm256_cmp_ps(x, low, _CMP_GT_OQ);
    const Float below = _mm256_cmp_ps(x, high, _CMP_LT_OQ);
    return _mm256_and_ps(_mm256_and_ps(above, below), gradient);
  }
  // the same in two steps, with a bit a lane to keep in between
  using Bits = std::uint8_t;
  static Bits inside_bits(Float x, Float low, Float high) {
    const Float above = _mm256_cmp_ps(x, low, _CMP_GT_OQ);
    const Float below = _mm256_cmp_ps(x, high, _CMP_LT_OQ);
    return static_cast<Bits>(_mm256_movemask_ps(_mm256_and_ps(above, below)));
  }
  static Float keep(Float gradient, Bits on) {
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const __m256i found = _mm256_and_si256(_mm256_set1_epi32(on), each);
    return _mm256_and_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(found, each)), gradient);
  }
  // the first n lanes, zeros behind them
  static Float keep_first(Float v, int n) {
    return _mm256_and_ps(v, _mm256_castsi256_ps(first(n)));
  }
  // a where x == y, else 0
  static Float where_equal(Float a, Float x, Float y) {
    return _mm256_and_ps(_mm256_cmp_ps(x, y, _CMP_EQ_OQ), a);
  }
  // a number whose sign and exponent are x's last nine bits
  static Float exponent(Float x) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(x), 23));
  }
  static Float load_half(const std::uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static Float load_int8(const std::int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  static Float load_int16(const std::int16_t* p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  // of whole numbers within its range
  static void store_int16(std::int16_t* p, Float v) {
    const __m256i whole = _mm256_cvtps_epi32(v);
    const __m128i packed =
        _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
  static float largest(Float v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_movehdup_ps(m)));
  }
  // whether one of them is above 0 in a lane where the other is not
  static bool sides_differ(Float a, Float b) {
    return _mm256_movemask_ps(_mm256_cmp_ps(a, zero(), _CMP_GT_OQ)) !=
           _mm256_movemask_ps(_mm256_cmp_ps(b, zero(), _CMP_GT_OQ));
  }

  // The micro-kernels' tile: 6 x 2 accumulators, 2 vectors of weights and a broadcast take 15 of
  // 16 registers.
  static constexpr int tile_rows = 6;
  static constexpr int tile_vectors = 2;
  static constexpr bool by_lane = false;
  using Quad = const float*;  // broadcast loads
  static Quad load_quad(const float* p) { return p; }
  template <int i>
  static Float fma_quad(Float sum, Float b, Quad a) {
    return _mm256_fmadd_ps(_mm256_broadcast_ss(a + i), b, sum);
  }
  static Float fma_one(Float sum, Float b, const float* a) {
    return _mm256_fmadd_ps(_mm256_broadcast_ss(a), b, sum);
  }

  static Count no_counts() { return _mm256_setzero_si256(); }
  static Count load_counts(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Count load_counts(const std::int32_t* p, int n) {
    return _mm256_maskload_epi32(p, first(n));
  }
  static void store_counts(std::int32_t* p, Count v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
  }
  static void store_counts(std::int32_t* p, Count v, int n) {
    _mm256_maskstore_epi32(p, first(n), v);
  }
  static Count add(Count a, Count b) { return _mm256_add_epi32(a, b); }
  static std::int32_t sum(Count v) {
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
    return _mm_cvtsi128_si32(s);
  }
  static Count add_zero(Count counts, Float x) {
    const __m256i magnitude = _mm256_slli_epi32(_mm256_castps_si256(x), 1);
    return _mm256_sub_epi32(counts, _mm256_cmpeq_epi32(magnitude, _mm256_setzero_si256()));
  }
  static Count add_not_positive(Count counts, Float x, Float scale, Float shift) {
    const Float y = _mm256_add_ps(_mm256_mul_ps(scale, x), shift);
    const Float off = _mm256_cmp_ps(y, _mm256_setzero_ps(), _CMP_LE_OQ);
    return _mm256_sub_epi32(counts, _mm256_castps_si256(off));
  }

  static Wide no_sum() { return _mm256_setzero_pd(); }
  static Wide splat(double x) { return _mm256_set1_pd(x); }
  static Wide widen(const float* p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
  static Wide widen(const float* p, int n) {
    return _mm256_cvtps_pd(_mm_maskload_ps(p, first_wide(n)));
  }
  static Wide widen_expanded(const float* p, unsigned mask, int n) {
    const __m128i packed = _mm_castps_si128(_mm_maskload_ps(p, first_wide(n)));
    const __m128i apart = _mm_shuffle_epi8(packed, shuffle(shuffles4.expand[mask]));
    return _mm256_cvtps_pd(_mm_castsi128_ps(apart));
  }
  static Wide fma(Wide a, Wide b, Wide c) { return _mm256_fmadd_pd(a, b, c); }
  static Wide mul(Wide a, Wide b) { return _mm256_mul_pd(a, b); }
  static double sum(Wide v) {
    const __m128d s = _mm_add_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_add_sd(s, _mm_unpackhi_pd(s, s)));
  }
  static Wide load_wide(const double* p) { return _mm256_loadu_pd(p); }
  static void store_wide(double* p, Wide v) { _mm256_storeu_pd(p, v); }
  // The second moments' tile: 12 accumulators, 3 vectors of columns and a broadcast.
  static constexpr int moment_rows = 4;
  static constexpr int moment_vectors = 3;
  static constexpr int wide_parts = 2;  // Wides in a Float
  static void widen_all(Wide (&to)[2], Float v) {
    to[0] = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
    to[1] = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
  }
  static void narrow(float* p, Wide v) { _mm_storeu_ps(p, _mm256_cvtpd_ps(v)); }
  static void narrow(float* p, Wide v, int n) {
    _mm_maskstore_ps(p, first_wide(n), _mm256_cvtpd_ps(v));
  }
  // Stores wide_lanes floats: the next ones of `from` where the mask is on, zeros elsewhere.
  static void expand(float* to, const float* from, unsigned mask) {
    const __m128i packed = _mm_castps_si128(_mm_loadu_ps(from));
    const __m128i apart = _mm_shuffle_epi8(packed, shuffle(shuffles4.expand[mask]));
    _mm_storeu_ps(to, _mm_castsi128_ps(apart));
  }
  // Writes all 4 lanes: `to` needs room for 4 beyond what is kept.
  static void compress(float* to, const float* from, unsigned mask) {
    store_compressed(to, _mm_loadu_ps(from), mask);
  }
  static void compress(float* to, const float* from, unsigned mask, int n) {
    store_compressed(to, _mm_maskload_ps(from, first_wide(n)), mask);
  }

 private:
  static void store_compressed(float* to, __m128 x, unsigned mask) {
    const __m128i together =
        _mm_shuffle_epi8(_mm_castps_si128(x), shuffle(shuffles4.compress[mask]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), together);
  }
};

}  // namespace
