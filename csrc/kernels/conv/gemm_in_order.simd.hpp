// The micro-kernels' inner loops for a path that multiplies by lane (Vec::by_lane: NEON), in an
// order that a core without out-of-order execution can run as it stands.
//
// A Cortex-A53 or A55 waits where a multiply-add's sum or operand is not ready. So all loads of a
// turn stand together, ahead of the first use, and every sum rests for a whole row of b (16
// multiply-adds in the full tile, of 4 to 10 cycles each). Compilers undo both: GCC 12 took 8 sums
// in turn where 16 were to be had, and both compilers scattered the loads and made pairs of them
// (LDP of two Q registers: 6 cycles on a Cortex-A55, two LDR take 2). V::hold and V::hold_loads,
// instructions that do not exist, keep the order. docs/neon.md has what comes of it.
//
// V is Vec; as a parameter it lets paths without lanes do without its hold.
#pragma once

#include <cstdint>

namespace {

template <typename V, int rows, int vectors>
struct InOrder {
  using Float = typename V::Float;
  using Quad = typename V::Quad;
  using Sums = Float[rows][vectors];

  // fours times four k of a's rows, times as many rows of b. a and b move on.
  template <typename Rows>
  static inline __attribute__((always_inline)) void add_fours(Sums& sum, std::int64_t fours,
                                                              Rows& a, const float*& b) {
    Quad quad[rows];
    Float w[2][vectors];
    while (fours != 0) {
      fetch(w[0][0], b);
      --fours;
      V::hold(fours);
#pragma GCC unroll 16
      for (int m = 0; m < rows; ++m) quad[m] = V::load_quad(a.at(m));
      V::hold_loads();
      if constexpr (vectors > 1) fetch(w[0][1], b + V::lanes);
      fetch_row(w[1], b + vectors * V::lanes);
      hold(sum);
      multiply<0>(sum, quad, w[0]);
      multiply<1>(sum, quad, w[1]);
      fetch_row(w[0], b + 2 * vectors * V::lanes);
      fetch_row(w[1], b + 3 * vectors * V::lanes);
      a.advance(4);
      b += 4 * vectors * V::lanes;
      hold(sum);
      multiply<2>(sum, quad, w[0]);
      multiply<3>(sum, quad, w[1]);
    }
  }

  // Pairs of pixels; row m of the tile is channel m, so that a quad holds four rows. x and y move
  // on.
  static inline __attribute__((always_inline)) void add_pairs(Sums& sum, std::int64_t pairs,
                                                              const float*& x, std::int64_t x_step,
                                                              const float*& y,
                                                              std::int64_t y_step) {
    Quad quad[2][quads];
    Float w[2][vectors];
    const float *next_x = x + x_step, *next_y = y + y_step;
    while (pairs != 0) {
      fetch_row(w[0], y);
      advance(y, 2 * y_step);
      fetch_quads(quad[0], x);
      advance(x, 2 * x_step);
      fetch_row(w[1], next_y);
      advance(next_y, 2 * y_step);
      fetch_quads(quad[1], next_x);
      advance(next_x, 2 * x_step);
      --pairs;
      V::hold(pairs);
      hold(sum);
      multiply_channels<0>(sum, quad[0], w[0]);
      hold(sum);
      multiply_channels<0>(sum, quad[1], w[1]);
      hold(sum);
    }
  }

 private:
  static constexpr int quads = (rows + 3) / 4;

  static inline __attribute__((always_inline)) void fetch(Float& to, const float* from) {
    to = V::load(from);
    V::hold_loads();
  }
  static inline __attribute__((always_inline)) void fetch_row(Float (&to)[vectors],
                                                              const float* from) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) fetch(to[v], from + v * V::lanes);
  }
  // held, or clang 14 computes four addresses anew from one counter
  static inline __attribute__((always_inline)) void advance(const float*& p, std::int64_t floats) {
    p += floats;
    V::hold(p);
  }
  static inline __attribute__((always_inline)) void fetch_quads(Quad (&to)[quads],
                                                                const float* from) {
#pragma GCC unroll 4
    for (int q = 0; q < quads; ++q) fetch(to[q], from + 4 * q);
  }
  static inline __attribute__((always_inline)) void hold(Sums& sum) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 16
      for (int m = 0; m < rows; ++m) V::hold(sum[m][v]);
    }
  }
  template <int i>
  static inline __attribute__((always_inline)) void multiply(Sums& sum, const Quad (&quad)[rows],
                                                             const Float (&w)[vectors]) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) {
#pragma GCC unroll 16
      for (int m = 0; m < rows; ++m) {
        sum[m][v] = V::template fma_quad<i>(sum[m][v], w[v], quad[m]);
      }
    }
    hold(sum);
  }
  template <int m>
  static inline __attribute__((always_inline)) void multiply_channels(Sums& sum,
                                                                      const Quad (&quad)[quads],
                                                                      const Float (&w)[vectors]) {
    if constexpr (m < rows) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[m][v] = V::template fma_quad<m % 4>(sum[m][v], w[v], quad[m / 4]);
      }
      multiply_channels<m + 1>(sum, quad, w);
    }
  }
};

}  // namespace
