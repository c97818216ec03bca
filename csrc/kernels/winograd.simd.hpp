// Winograd's F(4x4, 3x3): a 3x3 convolution of a 4x4 tile of pixels in 36 multiplications a pair of
// channels instead of 144 (Lavin & Gray 2016). Points 0, 1, -1, 2, -2 and infinity.
//
//   forward          Y  = A' [ (G g G') . (B' d B) ] A        d 6x6 input, g 3x3 weights, Y 4x4
//   weight gradient  dg = G' [ (B' d B) . (A dY A') ] G       the same products, over tiles
//
// The products are 36 matrix products over channels (gemm.simd.hpp); here are the transforms, each
// a small matrix from both sides, on vectors of channels.
#pragma once

#include <cstdint>

#include "kernels/region.hpp"
#include "kernels/winograd.hpp"

namespace {

using V = Vec::Float;

inline V times(V x, float factor) {
  return Vec::mul(x, Vec::splat(factor));
}
inline V plus_times(V x, float factor, V y) {  // x + factor * y
  return Vec::fma(y, Vec::splat(factor), x);
}

// B' d: 6 -> 6
struct InputTransform {
  static constexpr int from = 6, to = 6;
  static inline __attribute__((always_inline)) void apply(const V (&d)[6], V (&t)[6]) {
    const V even = plus_times(d[4], -4.0f, d[2]), odd = plus_times(d[3], -4.0f, d[1]);
    const V even2 = Vec::sub(d[4], d[2]), odd2 = Vec::sub(d[3], d[1]);
    t[0] = plus_times(plus_times(d[4], -5.0f, d[2]), 4.0f, d[0]);
    t[1] = Vec::add(even, odd);
    t[2] = Vec::sub(even, odd);
    t[3] = plus_times(even2, 2.0f, odd2);
    t[4] = plus_times(even2, -2.0f, odd2);
    t[5] = plus_times(plus_times(d[5], -5.0f, d[3]), 4.0f, d[1]);
  }
};

// A' m: 6 -> 4
struct OutputTransform {
  static constexpr int from = 6, to = 4;
  static inline __attribute__((always_inline)) void apply(const V (&m)[6], V (&y)[4]) {
    const V sum1 = Vec::add(m[1], m[2]), difference1 = Vec::sub(m[1], m[2]);
    const V sum2 = Vec::add(m[3], m[4]), difference2 = Vec::sub(m[3], m[4]);
    y[0] = Vec::add(Vec::add(m[0], sum1), sum2);
    y[1] = plus_times(difference1, 2.0f, difference2);
    y[2] = plus_times(sum1, 4.0f, sum2);
    y[3] = Vec::add(plus_times(difference1, 8.0f, difference2), m[5]);
  }
};

// A y: 4 -> 6
struct GradientTransform {
  static constexpr int from = 4, to = 6;
  static inline __attribute__((always_inline)) void apply(const V (&y)[4], V (&z)[6]) {
    const V even = Vec::add(y[0], y[2]), odd = Vec::add(y[1], y[3]);
    const V even2 = plus_times(y[0], 4.0f, y[2]);
    const V odd2 = plus_times(times(y[1], 2.0f), 8.0f, y[3]);
    z[0] = y[0];
    z[1] = Vec::add(even, odd);
    z[2] = Vec::sub(even, odd);
    z[3] = Vec::add(even2, odd2);
    z[4] = Vec::sub(even2, odd2);
    z[5] = y[3];
  }
};

// G g: 3 -> 6
struct WeightTransform {
  static constexpr int from = 3, to = 6;
  static inline __attribute__((always_inline)) void apply(const V (&g)[3], V (&u)[6]) {
    const V ends = times(Vec::add(g[0], g[2]), -1.0f / 6), middle = times(g[1], 1.0f / 6);
    const V ends2 = plus_times(times(g[0], 1.0f / 24), 1.0f / 6, g[2]);
    u[0] = times(g[0], 0.25f);
    u[1] = Vec::sub(ends, middle);
    u[2] = Vec::add(ends, middle);
    u[3] = plus_times(ends2, 1.0f / 12, g[1]);
    u[4] = plus_times(ends2, -1.0f / 12, g[1]);
    u[5] = g[2];
  }
};

// G' u: 6 -> 3
struct WeightGradientTransform {
  static constexpr int from = 6, to = 3;
  static inline __attribute__((always_inline)) void apply(const V (&u)[6], V (&g)[3]) {
    const V sum1 = times(Vec::add(u[1], u[2]), -1.0f / 6), sum2 = Vec::add(u[3], u[4]);
    const V difference1 = Vec::sub(u[2], u[1]), difference2 = Vec::sub(u[3], u[4]);
    g[0] = plus_times(plus_times(sum1, 0.25f, u[0]), 1.0f / 24, sum2);
    g[1] = plus_times(times(difference1, 1.0f / 6), 1.0f / 12, difference2);
    g[2] = Vec::add(plus_times(sum1, 1.0f / 6, sum2), u[5]);
  }
};

// Applies T from both sides: values T::from x T::from -> T::to x T::to. load(i, j) fetches a
// vector, store(i, j, vector) takes one.
template <typename T, typename Load, typename Store>
inline __attribute__((always_inline)) void both_sides(const Load& load, const Store& store) {
  V half[T::to][T::from];
#pragma GCC unroll 6
  for (int j = 0; j < T::from; ++j) {
    V column[T::from], result[T::to];
#pragma GCC unroll 6
    for (int i = 0; i < T::from; ++i) column[i] = load(i, j);
    T::apply(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < T::to; ++i) half[i][j] = result[i];
  }
#pragma GCC unroll 6
  for (int i = 0; i < T::to; ++i) {
    V result[T::to];
    T::apply(half[i], result);
#pragma GCC unroll 6
    for (int j = 0; j < T::to; ++j) store(i, j, result[j]);
  }
}

// A run of tiles beside each other. from: the first tile's first pixel -> to [36, tiles, stride]
template <typename T>
inline void transform_tiles(const float* from, std::int64_t row, std::int64_t stride,
                            std::int64_t tiles, float* to, std::int64_t position) {
  for (std::int64_t tile = 0; tile < tiles; ++tile, from += 4 * stride, to += stride) {
    for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
      both_sides<T>([&](int i, int j) { return Vec::load(from + i * row + j * stride + c); },
                    [&](int i, int j, V v) { Vec::store(to + (6 * i + j) * position + c, v); });
    }
  }
}

void winograd_input(const float* from, std::int64_t row, std::int64_t stride, std::int64_t tiles,
                    float* to, std::int64_t position) {
  transform_tiles<InputTransform>(from, row, stride, tiles, to, position);
}

void winograd_gradient(const float* from, std::int64_t row, std::int64_t stride, std::int64_t tiles,
                       float* to, std::int64_t position) {
  transform_tiles<GradientTransform>(from, row, stride, tiles, to, position);
}

template <typename Put>
inline void output_tile(const float* products, std::int64_t position, const Put& put,
                        std::int64_t row, std::int64_t stride, std::int64_t corner, int rows,
                        int columns) {
  const auto from = [&](std::int64_t c) {
    return [=](int i, int j) { return Vec::load(products + (6 * i + j) * position + c); };
  };
  if (rows == 4 && columns == 4) {
    for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
      both_sides<OutputTransform>(
          from(c), [&](int i, int j, V v) { put(v, corner + i * row + j * stride, c); });
    }
    return;
  }
  for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
    both_sides<OutputTransform>(from(c), [&](int i, int j, V v) {
      if (i < rows && j < columns) put(v, corner + i * row + j * stride, c);
    });
  }
}

// products [36, tiles, stride] -> 4x4 pixels a tile, from row `top` on; those outside h x w are
// dropped.
void winograd_output(const float* products, std::int64_t position, std::int64_t tiles,
                     const pyedge::Finish& finish, std::int64_t h, std::int64_t w,
                     std::int64_t top) {
  const int rows = h - top < 4 ? static_cast<int>(h - top) : 4;
  with_finish(finish, [&](const auto& put) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const std::int64_t left = 4 * tile;
      const int columns = w - left < 4 ? static_cast<int>(w - left) : 4;
      output_tile(products + tile * finish.stride, position, put, finish.row, finish.stride,
                  top * finish.row + left * finish.stride, rows, columns);
    }
  });
}

// weights [9, k, n] -> 36 packed matrices (see PixelGemm), each panels of [k, panel]
void winograd_weights(const float* weights, std::int64_t k, std::int64_t n, float* to) {
  constexpr std::int64_t panel = Vec::tile_vectors * Vec::lanes;
  for (std::int64_t first = 0; first < n; first += panel) {
    const std::int64_t width = n - first < panel ? n - first : panel;
    for (std::int64_t i = 0; i < k; ++i) {
      for (std::int64_t c = 0; c < width; c += Vec::lanes) {
        const float* from = weights + i * n + first + c;
        float* at = to + first * k + i * width + c;
        both_sides<WeightTransform>(
            [&](int y, int x) { return Vec::load(from + (3 * y + x) * k * n); },
            [&](int y, int x, V v) { Vec::store(at + (6 * y + x) * k * n, v); });
      }
    }
  }
}

// products [36, rows of n] -> gradient [9, rows of n], for `floats` from the first on
void winograd_weight_gradient(const float* products, std::int64_t position, std::int64_t floats,
                              float* gradient, std::int64_t tap) {
  for (std::int64_t c = 0; c < floats; c += Vec::lanes) {
    both_sides<WeightGradientTransform>(
        [&](int i, int j) { return Vec::load(products + (6 * i + j) * position + c); },
        [&](int i, int j, V v) { Vec::store(gradient + (3 * i + j) * tap + c, v); });
  }
}

}  // namespace
