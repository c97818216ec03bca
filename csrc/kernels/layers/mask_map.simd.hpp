// A map in a bit a value, for the time between the forward and the backward pass: whether the lens
// of its reader clamps it.
#pragma once

#include <cstdint>

#include "kernels/layers/layers.hpp"

namespace {

// The bits of a vector of channels follow each other; see bits_at.
void mask_map(const pyedge::ImageView& image, std::uint8_t* to) {
  const LensVectors look(image.lens);
  const float* x = image.data;
  for (std::int64_t p = 0; p < image.h * image.w; ++p, x += image.stride) {
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes, to += sizeof(Vec::Bits)) {
      const Vec::Float before = look.before_clamp(Vec::load(x + c), c);
      const Vec::Bits bits = Vec::inside_bits(before, look.low, look.high);
      __builtin_memcpy(to, &bits, sizeof bits);
    }
  }
}

}  // namespace
