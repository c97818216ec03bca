// The micro-kernels that every convolution and linear layer ends in: a tile of accumulators that
// stays in registers.
//
// b comes in vectors over n, a as single numbers: broadcast from memory on x86, by lane on ARM.
#pragma once

#include <cstdint>

#include "kernels/conv/gemm.hpp"
#include "kernels/conv/gemm_tile.simd.hpp"

namespace {

template <int rows, int vectors>
void channel_tile(const pyedge::ChannelGemm& g, const float* a, const float* b, float* c) {
  Tile<Vec, rows, vectors> tile;
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

using ChannelTile = void (*)(const pyedge::ChannelGemm&, const float*, const float*, float*);

struct TileFunctions {
  PixelTile pixel[Vec::tile_vectors][Vec::tile_rows];
  ChannelTile channel[Vec::tile_vectors][Vec::tile_rows];
};

template <int vectors, int rows>
constexpr void fill_tiles(TileFunctions& to) {
  to.pixel[vectors - 1][rows - 1] = pixel_tile<rows, vectors, Vec>;
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

void gemm_pixels(const pyedge::PixelGemm& g) {
  each_pixel_tile(g, tile_functions.pixel);
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
