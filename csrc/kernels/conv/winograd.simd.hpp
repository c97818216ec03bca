// Winograd's F(4x4, 3x3): a 3x3 convolution of a 4x4 tile of pixels in 36 multiplications a pair of
// channels instead of 144 (Lavin & Gray 2016). Points 0, a, -a, b, -b and infinity. With a = 3/4
// and b = 3/2 results are off by half as much as with the usual 1 and 2, at the same cost.
//
//   forward          Y  = A' [ (G g G') . (B' d B) ] A        d 6x6 input, g 3x3 weights, Y 4x4
//   weight gradient  dg = G' [ (B' d B) . (A dY A') ] G       the same products, over tiles
//
// The products are 36 matrix products over channels (gemm.simd.hpp); here are the transforms, each
// a small matrix from both sides, on vectors of channels.
#pragma once

#include <cstdint>

#include "kernels/conv/region.hpp"
#include "kernels/conv/winograd.hpp"

namespace {

using V = Vec::Float;

inline V times(V x, float factor) {
  return Vec::mul(x, Vec::splat(factor));
}
inline V plus_times(V x, float factor, V y) {  // x + factor * y
  return Vec::fma(y, Vec::splat(factor), x);
}

constexpr float a1 = 0.75f, a2 = a1 * a1, a3 = a2 * a1;
constexpr float b1 = 1.5f, b2 = b1 * b1, b3 = b2 * b1;
// the weights' rows are divided by the product of the distances between their point and the others
constexpr float at_zero = 1 / (a2 * b2), at_a = 1 / (2 * a2 * (a2 - b2)),
                at_b = 1 / (2 * b2 * (b2 - a2));

// The transforms. order: rows of the result, those that share terms beside each other. held_after:
// columns of the first side that are done before more are loaded, 0: as the compiler likes (see
// both_sides).

// B' d: 6 -> 6
struct InputTransform {
  static constexpr int from = 6, to = 6;
  static constexpr int order[to] = {1, 2, 3, 4, 0, 5};
  static constexpr int held_after = 0;
  static inline __attribute__((always_inline)) void apply(const V (&d)[6], V (&t)[6]) {
    const V even_a = plus_times(d[4], -b2, d[2]), odd_a = plus_times(d[3], -b2, d[1]);
    const V even_b = plus_times(d[4], -a2, d[2]), odd_b = plus_times(d[3], -a2, d[1]);
    t[0] = plus_times(plus_times(d[4], -(a2 + b2), d[2]), a2 * b2, d[0]);
    t[1] = plus_times(even_a, a1, odd_a);
    t[2] = plus_times(even_a, -a1, odd_a);
    t[3] = plus_times(even_b, b1, odd_b);
    t[4] = plus_times(even_b, -b1, odd_b);
    t[5] = plus_times(plus_times(d[5], -(a2 + b2), d[3]), a2 * b2, d[1]);
  }
};

// A' m: 6 -> 4
struct OutputTransform {
  static constexpr int from = 6, to = 4;
  static constexpr int order[to] = {0, 2, 1, 3};
  static constexpr int held_after = 3;
  static inline __attribute__((always_inline)) void apply(const V (&m)[6], V (&y)[4]) {
    const V even_a = Vec::add(m[1], m[2]), odd_a = Vec::sub(m[1], m[2]);
    const V even_b = Vec::add(m[3], m[4]), odd_b = Vec::sub(m[3], m[4]);
    y[0] = Vec::add(Vec::add(m[0], even_a), even_b);
    y[1] = plus_times(times(odd_a, a1), b1, odd_b);
    y[2] = plus_times(times(even_a, a2), b2, even_b);
    y[3] = plus_times(plus_times(m[5], a3, odd_a), b3, odd_b);
  }
};

// A y: 4 -> 6
struct GradientTransform {
  static constexpr int from = 4, to = 6;
  static constexpr int order[to] = {1, 2, 3, 4, 0, 5};
  static constexpr int held_after = 0;
  static inline __attribute__((always_inline)) void apply(const V (&y)[4], V (&z)[6]) {
    const V even_a = plus_times(y[0], a2, y[2]), odd_a = plus_times(y[1], a2, y[3]);
    const V even_b = plus_times(y[0], b2, y[2]), odd_b = plus_times(y[1], b2, y[3]);
    z[0] = y[0];
    z[1] = plus_times(even_a, a1, odd_a);
    z[2] = plus_times(even_a, -a1, odd_a);
    z[3] = plus_times(even_b, b1, odd_b);
    z[4] = plus_times(even_b, -b1, odd_b);
    z[5] = y[3];
  }
};

// G g: 3 -> 6
struct WeightTransform {
  static constexpr int from = 3, to = 6;
  static constexpr int order[to] = {1, 2, 3, 4, 0, 5};
  static constexpr int held_after = 2;
  static inline __attribute__((always_inline)) void apply(const V (&g)[3], V (&u)[6]) {
    const V even_a = times(plus_times(g[0], a2, g[2]), at_a);
    const V even_b = times(plus_times(g[0], b2, g[2]), at_b);
    u[0] = times(g[0], at_zero);
    u[1] = plus_times(even_a, a1 * at_a, g[1]);
    u[2] = plus_times(even_a, -a1 * at_a, g[1]);
    u[3] = plus_times(even_b, b1 * at_b, g[1]);
    u[4] = plus_times(even_b, -b1 * at_b, g[1]);
    u[5] = g[2];
  }
};

// G' u: 6 -> 3
struct WeightGradientTransform {
  static constexpr int from = 6, to = 3;
  static constexpr int order[to] = {0, 2, 1};
  static constexpr int held_after = 5;
  static inline __attribute__((always_inline)) void apply(const V (&u)[6], V (&g)[3]) {
    const V even_a = times(Vec::add(u[1], u[2]), at_a), odd_a = times(Vec::sub(u[1], u[2]), at_a);
    const V even_b = times(Vec::add(u[3], u[4]), at_b), odd_b = times(Vec::sub(u[3], u[4]), at_b);
    g[0] = plus_times(Vec::add(even_a, even_b), at_zero, u[0]);
    g[1] = plus_times(times(odd_a, a1), b1, odd_b);
    g[2] = plus_times(plus_times(u[5], a2, even_a), b2, even_b);
  }
};

// Called for each column j of the first side: ends T::held_after of them, whose values are there
// before a load that follows. P is Vec; as a parameter it lets paths without hold do without.
template <typename T, typename P = Vec, int count>
inline __attribute__((always_inline)) void hold_columns(V (&half)[count][T::from], int j) {
  if constexpr (P::by_lane && T::held_after > 0) {
    const bool last = (j + 1) % T::held_after == 0 || j + 1 == T::from;
#pragma GCC unroll 6
    for (int k = 0; k < T::from; ++k) {
#pragma GCC unroll 6
      for (int i = 0; i < count; ++i) {
        if (last && k / T::held_after == j / T::held_after) P::hold(half[i][k]);
      }
    }
  }
}

// The rows of T's result from T::order[first] on, `most` at a time, and those of the second side.
template <typename T, int first, int most, typename Load, typename Store>
inline __attribute__((always_inline)) void some_rows(const Load& load, const Store& store) {
  constexpr int count = first + most <= T::to ? most : T::to - first;
  V half[count][T::from];
#pragma GCC unroll 6
  for (int j = 0; j < T::from; ++j) {
    V column[T::from], result[T::to];
#pragma GCC unroll 6
    for (int i = 0; i < T::from; ++i) column[i] = load(i, j);
    T::apply(column, result);
#pragma GCC unroll 6
    for (int i = 0; i < count; ++i) half[i][j] = result[T::order[first + i]];
    hold_columns<T>(half, j);
  }
#pragma GCC unroll 6
  for (int i = 0; i < count; ++i) {
    V result[T::to];
    T::apply(half[i], result);
#pragma GCC unroll 6
    for (int j = 0; j < T::to; ++j) store(T::order[first + i], j, result[j]);
  }
  if constexpr (first + most < T::to) some_rows<T, first + most, most>(load, store);
}

// Applies T from both sides: values T::from x T::from -> T::to x T::to. load(i, j) fetches a
// vector, store(i, j, vector) takes one. On NEON up to 36 half-done values are more than its 32
// registers (GCC 12 went to the stack 111 times a vector of the input's transform): there two rows
// of the result are made at a time, those that share terms, from values that are read anew. Still
// compilers took so many loads together that the output's transform went to the stack up to 30
// times and the weights' 13 times: those are held. (Held like the output's, the input's would take
// a tenth longer on LLVM's models of the Cortex-A53 and A55.)
template <typename T, typename Load, typename Store>
inline __attribute__((always_inline)) void both_sides(const Load& load, const Store& store) {
  constexpr int most = Vec::by_lane ? 2 : T::to;
  some_rows<T, 0, most>(load, store);
}

// A run of tiles beside each other, of pixels `stride` floats apart. from: the first tile's first
// pixel -> to [36, tiles, channels], of the type that P, the path, puts there
template <typename T, typename P = Vec, typename To = float>
inline void transform_tiles(const float* from, std::int64_t row, std::int64_t stride,
                            std::int64_t channels, std::int64_t tiles, To* to,
                            std::int64_t position) {
  for (std::int64_t tile = 0; tile < tiles; ++tile, from += 4 * stride, to += channels) {
    for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
      both_sides<T>([&](int i, int j) { return Vec::load(from + i * row + j * stride + c); },
                    [&](int i, int j, V v) { P::store(to + (6 * i + j) * position + c, v); });
    }
  }
}

void winograd_input(const float* from, std::int64_t row, std::int64_t stride, std::int64_t tiles,
                    float* to, std::int64_t position) {
  transform_tiles<InputTransform>(from, row, stride, stride, tiles, to, position);
}

void winograd_gradient(const float* from, std::int64_t row, std::int64_t stride,
                       std::int64_t channels, std::int64_t tiles, float* to,
                       std::int64_t position) {
  transform_tiles<GradientTransform>(from, row, stride, channels, tiles, to, position);
}

// One tile, in every pixel of which `put` finishes `channels`. put is a copy: what a hold could
// change is read from memory anew.
template <typename Put>
inline void whole_tile(const float* products, std::int64_t position, std::int64_t channels, Put put,
                       std::int64_t row, std::int64_t stride, std::int64_t corner) {
  for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
    both_sides<OutputTransform>(
        [=](int i, int j) { return Vec::load(products + (6 * i + j) * position + c); },
        [=](int i, int j, V v) { put(v, corner + i * row + j * stride, c); });
  }
}

// A tile of which rows x columns pixels are finished.
template <typename Put, typename P = Vec>
inline void part_of_tile(const float* products, std::int64_t position, std::int64_t channels,
                         const Put& put, std::int64_t row, std::int64_t stride, std::int64_t corner,
                         int rows, int columns) {
  for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
    const auto load = [=](int i, int j) {
      return Vec::load(products + (6 * i + j) * position + c);
    };
    if constexpr (P::by_lane) {
      // By way of memory: with a question ahead of each pixel, up to 141 values had no register.
      float tile[16 * Vec::lanes];
      float* pixels = tile;
      P::hold(pixels);
      both_sides<OutputTransform>(
          load, [=](int i, int j, V v) { Vec::store(pixels + (4 * i + j) * Vec::lanes, v); });
      for (int i = 0; i < rows; ++i) {
        for (int j = 0; j < columns; ++j) {
          put(Vec::load(pixels + (4 * i + j) * Vec::lanes), corner + i * row + j * stride, c);
        }
      }
    } else {
      both_sides<OutputTransform>(load, [&](int i, int j, V v) {
        if (i < rows && j < columns) put(v, corner + i * row + j * stride, c);
      });
    }
  }
}

// products [36, tiles, channels] -> 4x4 pixels a tile, from row `top` on; those outside h x w are
// dropped.
void winograd_output(const float* products, std::int64_t position, std::int64_t tiles,
                     std::int64_t channels, const pyedge::Finish& finish, std::int64_t h,
                     std::int64_t w, std::int64_t top) {
  const int rows = h - top < 4 ? static_cast<int>(h - top) : 4;
  with_finish(finish, [&](const auto& put) {
    for (std::int64_t tile = 0; tile < tiles; ++tile) {
      const std::int64_t left = 4 * tile;
      const int columns = w - left < 4 ? static_cast<int>(w - left) : 4;
      const float* from = products + tile * channels;
      const std::int64_t corner = top * finish.row + left * finish.stride;
      if (rows == 4 && columns == 4 && !(Vec::by_lane && put.asks)) {
        whole_tile(from, position, channels, put, finish.row, finish.stride, corner);
      } else {
        part_of_tile(from, position, channels, put, finish.row, finish.stride, corner, rows,
                     columns);
      }
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
        [&](int i, int j, V v) {
          float* to = gradient + (3 * i + j) * tap + c;
          Vec::store(to, Vec::add(Vec::load(to), v));
        });
  }
}

}  // namespace
