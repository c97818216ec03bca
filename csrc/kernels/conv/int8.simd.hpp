// Matrix products of 8-bit numbers with exact sums in int32, for the Int8Vec that the including
// file has chosen: a quarter of the bytes, and four times the multiply-adds an instruction.
//
// Numbers come in quads of neighbouring input channels, which lie where the float32 path has one
// float: a pixel's in the copy of the input, and in packed weights [taps, quads, n, 4]. So tiles,
// panels and offsets are those of float32, with quads for channels. What turns sums into floats
// lies behind the products' numbers: a panel's [n] offsets and [n] factors behind its weights, and
// where g.scaled a row's factor behind its quads.
#pragma once

#include <cstdint>

#include "kernels/conv/gemm_tile.simd.hpp"
#include "kernels/conv/region.simd.hpp"
#include "kernels/dispatch/int8_kernels.hpp"

namespace {

struct Int8Tile {
  template <int rows, int vectors>
  static void tile(const pyedge::PixelGemm& g, const float* a, const float* b, float* c) {
    Tile<Int8Vec, rows, vectors> tile;
    tile.start(c, g.c_step, false);
    b = add_products(g, a, b, tile);
    Int8Vec::Float offset[vectors];
    Vec::Float factor[vectors];
    for (int v = 0; v < vectors; ++v) {
      offset[v] = Int8Vec::load(b + v * Vec::lanes);
      factor[v] = Vec::load(b + (vectors + v) * Vec::lanes);
    }
#pragma GCC unroll 16
    for (int m = 0; m < rows; ++m) {
      const Vec::Float row = Vec::splat(g.scaled ? a[m * g.a_step + g.k] : 1.0f);
#pragma GCC unroll 4
      for (int v = 0; v < vectors; ++v) {
        const Vec::Float sum = Int8Vec::to_float(tile.sum[m][v], offset[v]);
        const Vec::Float y = Vec::mul(sum, factor[v]);
        Vec::store(c + m * g.c_step + v * Vec::lanes, g.scaled ? Vec::mul(y, row) : y);
      }
    }
  }
};

constexpr PixelTiles<Int8Tile> int8_tiles = make_pixel_tiles<Int8Tile>();

void int8_gemm_pixels(const pyedge::PixelGemm& g) {
  each_pixel_tile(g, int8_tiles.by_size);
}

// Rounds a vector of a map, halves to even, as plain code does.
struct Rounding {
  const Vec::Float inverse, low, high;
  const std::int32_t add;

  explicit Rounding(const pyedge::InputScale& input)
      : Rounding(1.0f / input.scale, input.zero_point) {}
  Rounding(float by, std::int32_t zero_point)
      : inverse(Vec::splat(by)),
        low(Vec::splat(static_cast<float>(-zero_point))),
        high(Vec::splat(static_cast<float>(255 - zero_point))),
        add(zero_point - Int8Vec::less) {}
  void store(std::uint8_t* to, Vec::Float x) const {
    Int8Vec::store_bytes(to, Vec::clamp(Vec::mul(x, inverse), low, high), add);
  }
};

struct Int8Line {
  const pyedge::Region& r;
  const LensVectors look;
  const Rounding round;
  const std::int64_t channels;  // whole quads
  std::uint8_t* to;
  void zero(std::int64_t first, std::int64_t pixels) const {
    __builtin_memset(to + first * channels, round.add, static_cast<std::size_t>(pixels * channels));
  }
  void copy(std::int64_t first, const float* from, std::int64_t pixels) const {
    std::uint8_t* put_at = to + first * channels;
    for (std::int64_t p = 0; p < pixels; ++p, from += r.stride, put_at += channels) {
      std::int64_t c = 0;
      for (; c + Vec::lanes <= r.stride; c += Vec::lanes) {
        round.store(put_at + c, look(Vec::load(from + c), c));
      }
      if (c == channels) continue;
      // images, without padding and without a lens
      float rest[Vec::lanes + 4];
      std::uint8_t bytes[Vec::lanes + 4];
      std::int64_t left = 0;
      for (; c + left < r.stride; ++left) rest[left] = from[c + left];
      for (; left < Vec::lanes + 4; ++left) rest[left] = 0.0f;
      for (std::int64_t i = 0; i < channels - c; i += Vec::lanes) {
        round.store(bytes + i, Vec::load(rest + i));
      }
      for (std::int64_t i = 0; c < channels; ++c, ++i) put_at[c] = bytes[i];
    }
  }
};

void int8_copy_region(const pyedge::Region& r, const pyedge::InputScale& input) {
  copy_rows(r, Int8Line{r, LensVectors(r.lens), Rounding(input), (r.stride + 3) / 4 * 4,
                        reinterpret_cast<std::uint8_t*>(r.to)});
}

// A scale for each position and tile: the largest number becomes 127.
void int8_quantize_patch(const float* from, std::int64_t position, std::int64_t channels, float* to,
                         std::int64_t to_position, std::int64_t k) {
  for (int i = 0; i < 36; ++i, from += position, to += to_position) {
    Vec::Float most = Vec::zero();
    for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
      const Vec::Float x = Vec::load(from + c);
      most = Vec::max(most, Vec::max(x, Vec::sub(Vec::zero(), x)));
    }
    const float largest = Vec::largest(most);
    const Rounding round(largest > 0.0f ? 127.0f / largest : 0.0f, 128);
    for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
      round.store(reinterpret_cast<std::uint8_t*>(to) + c, Vec::load(from + c));
    }
    to[k] = largest / 127.0f;
  }
}

constexpr pyedge::Int8Kernels make_int8_kernels() {
  pyedge::Int8Kernels int8{};
  int8.type = Int8Vec::type;
  int8.less = Int8Vec::less;
  int8.gemm_pixels = int8_gemm_pixels;
  int8.copy_region = int8_copy_region;
  int8.quantize_patch = int8_quantize_patch;
  return int8;
}

}  // namespace
