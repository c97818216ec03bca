// Matrix products of 16-bit numbers with sums in float32, for the HalfVec that the including file
// has chosen: half the bytes, and twice the multiply-adds an instruction.
//
// Numbers come in pairs of neighbouring input channels, which lie where the float32 path has one
// float: a pixel's in the copy of the input, and in packed weights [taps, pairs, n, 2]. So tiles,
// panels and offsets are those of float32, with pairs in the place of channels.
#pragma once

#include <cstdint>

#include "kernels/conv/gemm_tile.simd.hpp"
#include "kernels/conv/region.simd.hpp"
#include "kernels/conv/winograd.simd.hpp"
#include "kernels/dispatch/half_kernels.hpp"
#include "simd/half_bits.hpp"

namespace {

struct HalfTile {
  template <int rows, int vectors>
  static void tile(const pyedge::PixelGemm& g, const float* a, const float* b, float* c) {
    pixel_tile<rows, vectors, HalfVec>(g, a, b, c);
  }
};

constexpr PixelTiles<HalfTile> half_tiles = make_pixel_tiles<HalfTile>();

void half_gemm_pixels(const pyedge::PixelGemm& g) {
  each_pixel_tile(g, half_tiles.by_size);
}

void half_pair_rows(const float* first, const float* second, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; i += Vec::lanes) {
    const Vec::Float other = second == nullptr ? Vec::zero() : Vec::load(second + i);
    HalfVec::store_pairs(to + i, Vec::load(first + i), other);
  }
}

struct HalfLine {
  const pyedge::Region& r;
  const LensVectors look;
  const std::int64_t channels;  // even
  std::uint16_t* to;
  void zero(std::int64_t first, std::int64_t pixels) const {
    __builtin_memset(to + first * channels, 0, static_cast<std::size_t>(2 * pixels * channels));
  }
  void copy(std::int64_t first, const float* from, std::int64_t pixels) const {
    std::uint16_t* put_at = to + first * channels;
    for (std::int64_t p = 0; p < pixels; ++p, from += r.stride, put_at += channels) {
      std::int64_t c = 0;
      for (; c + Vec::lanes <= r.stride; c += Vec::lanes) {
        HalfVec::store(put_at + c, look(Vec::load(from + c), c));
      }
      // images, without padding and without a lens
      for (; c < r.stride; ++c) put_at[c] = to_bf16(from[c]);
      if (c < channels) put_at[c] = 0;
    }
  }
};

void half_copy_region(const pyedge::Region& r) {
  copy_rows(r, HalfLine{r, LensVectors(r.lens), (r.stride + 1) / 2 * 2,
                        reinterpret_cast<std::uint16_t*>(r.to)});
}

void half_winograd_input(const float* from, std::int64_t row, std::int64_t stride,
                         std::int64_t tiles, float* to, std::int64_t position) {
  transform_tiles<InputTransform, HalfVec>(from, row, stride, stride, tiles,
                                           reinterpret_cast<std::uint16_t*>(to), 2 * position);
}

constexpr pyedge::HalfKernels make_half_kernels() {
  pyedge::HalfKernels half{};
  half.type = HalfVec::type;
  half.gemm_pixels = half_gemm_pixels;
  half.pair_rows = half_pair_rows;
  half.copy_region = half_copy_region;
  half.winograd_input = half_winograd_input;
  return half;
}

}  // namespace
