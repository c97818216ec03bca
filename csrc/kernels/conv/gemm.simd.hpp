// The micro-kernels that every convolution and linear layer ends in: a tile of up to
// Vec::tile_rows x Vec::tile_vectors accumulators that stay in registers.
//
// b comes in vectors over n, a as single numbers: broadcast from memory on x86, by lane on ARM.
#pragma once

#include <cstdint>

#include "kernels/conv/gemm.hpp"
#include "kernels/conv/gemm_in_order.simd.hpp"

namespace {

template <int i>
struct Index {
  static constexpr int value = i;
};

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

template <int rows, int vectors>
struct Tile {
  Vec::Float sum[rows][vectors];

  // What c holds is added at the end, and its lines are asked for now: to fetch them then, or ahead
  // of the first product, took a tenth of a tile's time (32 products deep). By lane, where a line
  // is four vectors, asking costs more instructions than starting from c does.
  static constexpr bool adds_late = !Vec::by_lane;

  void start(const float* c, std::int64_t step, bool accumulate) {
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const float* from = c + m * step + v * Vec::lanes;
        if (adds_late && accumulate) __builtin_prefetch(from, 1);
        sum[m][v] = !adds_late && accumulate ? Vec::load(from) : Vec::zero();
      }
    }
  }
  void store(float* c, std::int64_t step, bool accumulate) const {
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        float* to = c + m * step + v * Vec::lanes;
        const bool adds = adds_late && accumulate;
        Vec::store(to, adds ? Vec::add(Vec::load(to), sum[m][v]) : sum[m][v]);
      }
    }
  }

  // One k of four: the i-th of each row's quad, times a row of b.
  template <int i>
  inline __attribute__((always_inline)) void add(const Vec::Quad (&quad)[rows], const float* b) {
    Vec::Float w[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = Vec::load(b + (i * vectors + v) * Vec::lanes);
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[m][v] = Vec::template fma_quad<i>(sum[m][v], w[v], quad[m]);
      }
    }
  }
  inline __attribute__((always_inline)) void add_four(const RowPointers<rows>& a, const float* b) {
    Vec::Quad quad[rows];
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) quad[m] = Vec::load_quad(a.at(m));
    add<0>(quad, b);
    add<1>(quad, b);
    add<2>(quad, b);
    add<3>(quad, b);
  }
  inline __attribute__((always_inline)) void add_one(const RowPointers<rows>& a, const float* b) {
    Vec::Float w[vectors];
#pragma GCC unroll 4
    for (int v = 0; v < vectors; ++v) w[v] = Vec::load(b + v * Vec::lanes);
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) sum[m][v] = Vec::fma_one(sum[m][v], w[v], a.at(m));
    }
  }
  // Row m of the tile is channel m of one pixel, so that a quad holds four rows.
  template <int m>
  inline __attribute__((always_inline)) void add_channel(Vec::Quad quad,
                                                         const Vec::Float (&w)[vectors]) {
    if constexpr (m < rows) {
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        sum[m][v] = Vec::template fma_quad<m % 4>(sum[m][v], w[v], quad);
      }
    }
  }
  template <int first>
  inline __attribute__((always_inline)) void add_channels(const float* a,
                                                          const Vec::Float (&w)[vectors]) {
    if constexpr (first < rows) {
      const Vec::Quad quad = Vec::load_quad(a + first);
      add_channel<first>(quad, w);
      add_channel<first + 1>(quad, w);
      add_channel<first + 2>(quad, w);
      add_channel<first + 3>(quad, w);
      add_channels<first + 4>(a, w);
    }
  }
};

template <int rows, int vectors>
void pixel_tile(const pyedge::PixelGemm& g, const float* a, const float* b, float* c) {
  Tile<rows, vectors> tile;
  tile.start(c, g.c_step, g.accumulate);
  for (std::int64_t tap = 0; tap < g.taps; ++tap) {
    RowPointers<rows> from(a + g.tap_offsets[tap], g.a_step);
    std::int64_t k = g.k;
    if constexpr (Vec::by_lane) {
      InOrder<Vec, rows, vectors>::add_fours(tile.sum, k / 4, from, b);
      k %= 4;
    }
    for (; k >= 4; k -= 4) {
      tile.add_four(from, b);
      from.advance(4);
      b += 4 * vectors * Vec::lanes;
    }
    for (; k > 0; --k) {
      tile.add_one(from, b);
      from.advance(1);
      b += vectors * Vec::lanes;
    }
  }
  tile.store(c, g.c_step, g.accumulate);
}

template <int rows, int vectors>
void channel_tile(const pyedge::ChannelGemm& g, const float* a, const float* b, float* c) {
  Tile<rows, vectors> tile;
  tile.start(c, g.c_step, g.accumulate);
  // copies, which no hold can make the compiler read again
  const std::int64_t images = g.images, runs = g.runs, length = g.length;
  const std::int64_t a_step = g.a_step, b_step = g.b_step, a_run = g.a_run, b_run = g.b_run;
  for (std::int64_t image = 0; image < images; ++image) {
    const float *a_line = a + image * g.a_image, *b_line = b + image * g.b_image;
    for (std::int64_t run = 0; run < runs; ++run, a_line += a_run, b_line += b_run) {
      const float *x = a_line, *y = b_line;
      std::int64_t left = length;
      if constexpr (Vec::by_lane) {
        InOrder<Vec, rows, vectors>::add_pairs(tile.sum, left / 2, x, a_step, y, b_step);
        left %= 2;
      }
      for (; left > 0; --left) {
        Vec::Float w[vectors];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; ++v) w[v] = Vec::load(y + v * Vec::lanes);
        tile.template add_channels<0>(x, w);
        x += a_step;
        y += b_step;
      }
    }
  }
  tile.store(c, g.c_step, g.accumulate);
}

using PixelTile = void (*)(const pyedge::PixelGemm&, const float*, const float*, float*);
using ChannelTile = void (*)(const pyedge::ChannelGemm&, const float*, const float*, float*);

struct TileFunctions {
  PixelTile pixel[Vec::tile_vectors][Vec::tile_rows];
  ChannelTile channel[Vec::tile_vectors][Vec::tile_rows];
};

template <int vectors, int rows>
constexpr void fill_tiles(TileFunctions& to) {
  to.pixel[vectors - 1][rows - 1] = pixel_tile<rows, vectors>;
  to.channel[vectors - 1][rows - 1] = channel_tile<rows, vectors>;
  if constexpr (rows > 1) {
    fill_tiles<vectors, rows - 1>(to);
  } else if constexpr (vectors > 1) {
    fill_tiles<vectors - 1, Vec::tile_rows>(to);
  }
}

constexpr TileFunctions make_tiles() {
  TileFunctions tiles{};
  fill_tiles<Vec::tile_vectors, Vec::tile_rows>(tiles);
  return tiles;
}

constexpr TileFunctions tile_functions = make_tiles();

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

void gemm_pixels(const pyedge::PixelGemm& g) {
  for (std::int64_t v = 0; v < g.vectors; v += Vec::tile_vectors) {
    const std::int64_t left = g.vectors - v;
    const int width = left < Vec::tile_vectors ? static_cast<int>(left) : Vec::tile_vectors;
    const float* b = g.b + v * Vec::lanes * g.taps * g.k;
    for (std::int64_t line = 0; line < g.lines; ++line) {
      const float* a = g.a + line * g.a_line;
      float* c = g.c + line * g.c_line + v * Vec::lanes;
      for_each_tile(g.rows, [&](std::int64_t first, int rows) {
        tile_functions.pixel[width - 1][rows - 1](g, a + first * g.a_step, b, c + first * g.c_step);
      });
    }
  }
}

void gemm_channels(const pyedge::ChannelGemm& g) {
  for (std::int64_t v = 0; v < g.vectors; v += Vec::tile_vectors) {
    const std::int64_t left = g.vectors - v;
    const int width = left < Vec::tile_vectors ? static_cast<int>(left) : Vec::tile_vectors;
    const float* b = g.b + v * Vec::lanes;
    float* c = g.c + v * Vec::lanes;
    for_each_tile(g.rows, [&](std::int64_t first, int rows) {
      tile_functions.channel[width - 1][rows - 1](g, g.a + first, b, c + first * g.c_step);
    });
  }
}

}  // namespace
