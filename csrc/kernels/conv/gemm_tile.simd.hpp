// A tile of up to Vec::tile_rows x Vec::tile_vectors sums, and the product of pixels that fills it.
#pragma once

#include <cstdint>

#include "kernels/conv/gemm.hpp"
#include "kernels/conv/gemm_in_order.simd.hpp"

namespace {

// Three rows share a pointer (base, base + step and base + 2 step fit x86's addressing), or 14
// rows would need more pointers than there are registers.
template <int rows>
struct RowPointers {
  static constexpr int count = (rows + 2) / 3;
  const float* base[count];
  std::int64_t step;

  RowPointers(const float* a, std::int64_t row_step) : step(row_step) {
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) base[i] = a + 3 * i * row_step;
  }
  const float* at(int m) const { return base[m / 3] + (m % 3) * step; }
  void advance(std::int64_t floats) {
#pragma GCC unroll 16
    for (int i = 0; i < count; ++i) base[i] += floats;
  }
};

// P is the path: Vec, or one that multiplies pairs of 16-bit numbers or quads of 8-bit ones
// (half.simd.hpp, int8.simd.hpp).
template <typename P, int rows, int vectors>
struct Tile {
  using Float = typename P::Float;
  using Quad = typename P::Quad;
  Float sum[rows][vectors];

  // What c holds is added at the end, and its lines are asked for now: to fetch them then, or ahead
  // of the first product, took a tenth of a tile's time (32 products deep). By lane, where a line
  // is four vectors, asking costs more instructions than starting from c does.
  static constexpr bool adds_late = !P::by_lane;

  void start(const float* c, std::int64_t step, bool accumulate) {
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const float* from = c + m * step + v * P::lanes;
        if (adds_late && accumulate) __builtin_prefetch(from, 1);
        sum[m][v] = !adds_late && accumulate ? P::load(from) : P::zero();
      }
    }
  }
  void store(float* c, std::int64_t step, bool accumulate) const {
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        float* to = c + m * step + v * P::lanes;
        const bool adds = adds_late && accumulate;
        P::store(to, adds ? P::add(P::load(to), sum[m][v]) : sum[m][v]);
      }
    }
  }

  // One k of four: the i-th of each row's quad, times a row of b.
  template <int i>
  inline __attribute__((always_inline)) void add(const Quad (&quad)[rows], const float* b) {
    Float w[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = P::load(b + (i * vectors + v) * P::lanes);
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[m][v] = P::template fma_quad<i>(sum[m][v], w[v], quad[m]);
      }
    }
  }
  inline __attribute__((always_inline)) void add_four(const RowPointers<rows>& a, const float* b) {
    Quad quad[rows];
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) quad[m] = P::load_quad(a.at(m));
    add<0>(quad, b);
    add<1>(quad, b);
    add<2>(quad, b);
    add<3>(quad, b);
  }
  inline __attribute__((always_inline)) void add_one(const RowPointers<rows>& a, const float* b) {
    Float w[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = P::load(b + v * P::lanes);
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[m][v] = P::fma_one(sum[m][v], w[v], a.at(m));
    }
  }
  // Row m of the tile is channel m of one pixel, so that a quad holds four rows.
  template <int m>
  inline __attribute__((always_inline)) void add_channel(Quad quad, const Float (&w)[vectors]) {
    if constexpr (m < rows) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[m][v] = P::template fma_quad<m % 4>(sum[m][v], w[v], quad);
      }
    }
  }
  template <int first>
  inline __attribute__((always_inline)) void add_channels(const float* a,
                                                          const Float (&w)[vectors]) {
    if constexpr (first < rows) {
      const Quad quad = P::load_quad(a + first);
      add_channel<first>(quad, w);
      add_channel<first + 1>(quad, w);
      add_channel<first + 2>(quad, w);
      add_channel<first + 3>(quad, w);
      add_channels<first + 4>(a, w);
    }
  }
};

// Adds a tile's products; returns where its weights end.
template <int rows, int vectors, typename P>
inline __attribute__((always_inline)) const float* add_products(const pyedge::PixelGemm& g,
                                                                const float* a, const float* b,
                                                                Tile<P, rows, vectors>& tile) {
  for (std::int64_t tap = 0; tap < g.taps; ++tap) {
    RowPointers<rows> from(a + g.tap_offsets[tap], g.a_step);
    std::int64_t k = g.k;
    if constexpr (P::by_lane) {
      InOrder<P, rows, vectors>::add_fours(tile.sum, k / 4, from, b);
      k %= 4;
    }
    for (; k >= 4; k -= 4) {
      tile.add_four(from, b);
      from.advance(4);
      b += 4 * vectors * P::lanes;
    }
    for (; k > 0; --k) {
      tile.add_one(from, b);
      from.advance(1);
      b += vectors * P::lanes;
    }
  }
  return b;
}

template <int rows, int vectors, typename P>
void pixel_tile(const pyedge::PixelGemm& g, const float* a, const float* b, float* c) {
  Tile<P, rows, vectors> tile;
  tile.start(c, g.c_step, g.accumulate);
  add_products(g, a, b, tile);
  tile.store(c, g.c_step, g.accumulate);
}

using PixelTile = void (*)(const pyedge::PixelGemm&, const float*, const float*, float*);

// T::tile<rows, vectors>, by vectors and rows.
template <typename T>
struct PixelTiles {
  PixelTile by_size[Vec::tile_vectors][Vec::tile_rows];
};

template <typename T, int vectors, int rows>
constexpr void fill_pixel_tiles(PixelTiles<T>& to) {
  to.by_size[vectors - 1][rows - 1] = T::template tile<rows, vectors>;
  if constexpr (rows > 1) {
    fill_pixel_tiles<T, vectors, rows - 1>(to);
  } else if constexpr (vectors > 1) {
    fill_pixel_tiles<T, vectors - 1, Vec::tile_rows>(to);
  }
}

template <typename T>
constexpr PixelTiles<T> make_pixel_tiles() {
  PixelTiles<T> tiles{};
  fill_pixel_tiles<T, Vec::tile_vectors, Vec::tile_rows>(tiles);
  return tiles;
}

// Rows are dealt out evenly (32 as 11 + 11 + 10, not 14 + 14 + 4): short tiles waste latency.
template <typename Body>
inline void for_each_tile(std::int64_t rows, const Body& body) {
  const std::int64_t tiles = (rows + Vec::tile_rows - 1) / Vec::tile_rows;
  std::int64_t first = 0;
  for (std::int64_t tile = 0; tile < tiles; ++tile) {
    const std::int64_t count = (rows - first) / (tiles - tile);
    body(first, static_cast<int>(count));
    first += count;
  }
}

// tiles: of pixels, by vectors and rows
template <typename Tiles>
inline __attribute__((always_inline)) void each_pixel_tile(const pyedge::PixelGemm& g,
                                                           const Tiles& tiles) {
  for (std::int64_t v = 0; v < g.vectors; v += Vec::tile_vectors) {
    const std::int64_t left = g.vectors - v;
    const int width = left < Vec::tile_vectors ? static_cast<int>(left) : Vec::tile_vectors;
    const float* b = g.b + v * Vec::lanes * g.taps * g.k;
    for (std::int64_t line = 0; line < g.lines; ++line) {
      const float* a = g.a + line * g.a_line;
      float* c = g.c + line * g.c_line + v * Vec::lanes;
      for_each_tile(g.rows, [&](std::int64_t first, int rows) {
        tiles[width - 1][rows - 1](g, a + first * g.a_step, b, c + first * g.c_step);
      });
    }
  }
}

}  // namespace
