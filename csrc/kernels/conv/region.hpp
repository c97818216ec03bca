// What happens to a map on its way into a convolution and out of it.
//
// Maps are NHWC with a pixel's channels padded to whole vectors; the padding is always zero.
#pragma once

#include <cstdint>
#include <initializer_list>

namespace pyedge {

// What a reader applies to a map: clamp(scale[c] * x + shift[c], low, high). A batch norm is a
// scale and a shift, ReLU is low = 0, ReLU6 high = 6 as well. Null scale: the map as it is.
struct Lens {
  const float* scale = nullptr;
  const float* shift = nullptr;
  float low = -__builtin_inff();
  float high = __builtin_inff();
  bool clamps() const { return low == 0.0f; }
  bool plain() const { return scale == nullptr && !clamps(); }
  // The same for a pixel's channels from `first` on.
  Lens channels(std::int64_t first) const {
    Lens part = *this;
    if (scale != nullptr) part.scale += first, part.shift += first;
    return part;
  }
};

// A part of an image, seen through a lens, with zeros where it lies outside the image; all of a
// pixel's channels, or `channels` from image, scale and shift on.
struct Region {
  const float* image;
  std::int64_t h, w, stride;   // stride: floats a pixel
  std::int64_t top, left;      // may be negative
  std::int64_t rows, columns;  // of the part
  Lens lens;
  float* to;  // [rows, columns, stride or channels]
  std::int64_t channels = 0;
  std::int64_t ahead = 0;  // an even row asks for the one so many rows further on, if there are any
};

// What becomes of a computed value y of a pixel, a vector of channels at a time:
//   base given      y = gradient through base's lens: 0 where it clamps, times gain; + beta * base
//   mask given      y = gradient through a lens whose clamps were noted by mask_map: the same
//   bias given      y += bias
//   residual given  y += residual through its lens
//   accumulate      y += out
//   out = y
// base and residual lie like out, and may be out itself.
struct Finish {
  float* out = nullptr;  // an image; rows `row` floats apart, pixels `stride`
  std::int64_t row = 0, stride = 0;
  const float* bias = nullptr;
  const float* base = nullptr;
  Lens lens;  // of base
  const std::uint8_t* mask = nullptr;
  std::int64_t mask_first = 0;  // the value of the mask that out is
  const float* gain = nullptr;
  float beta = 0.0f;
  const float* betas = nullptr;  // one for each image of `image_floats`, instead of beta
  std::int64_t image_floats = 0;
  const float* residual = nullptr;
  Lens residual_lens;
  bool accumulate = false;
  bool streams = false;  // out is read when no cache has it any more

  Finish() = default;
  Finish(float* to, std::int64_t row_floats, std::int64_t pixel_floats)
      : out(to), row(row_floats), stride(pixel_floats) {}
  // The same for a later image of a batch.
  Finish at(std::int64_t floats) const {
    Finish moved = *this;
    moved.out += floats;
    if (base != nullptr) moved.base += floats;
    moved.mask_first += floats;
    if (betas != nullptr) moved.beta = betas[floats / image_floats];
    if (residual != nullptr) moved.residual += floats;
    return moved;
  }
  // The same for a pixel's channels from `first` on.
  Finish channels(std::int64_t first) const {
    Finish part = *this;
    part.out += first;
    part.mask_first += first;
    for (const float** values :
         {&part.bias, &part.base, &part.lens.scale, &part.lens.shift, &part.gain, &part.residual,
          &part.residual_lens.scale, &part.residual_lens.shift}) {
      if (*values != nullptr) *values += first;
    }
    return part;
  }
  // Nothing to do but to store.
  bool stores() const {
    return bias == nullptr && base == nullptr && mask == nullptr && residual == nullptr &&
           !accumulate;
  }
};

// Pixels that lie `step` apart from a corner on.
struct PixelGrid {
  std::int64_t top, left, step_h, step_w;
};

}  // namespace pyedge
