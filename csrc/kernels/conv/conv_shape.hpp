// Sizes of a convolution of a batch. Linear layers are convolutions whose kernel covers the image.
#pragma once

#include <cstdint>

namespace pyedge {

struct ConvShape {
  std::int64_t n;
  std::int64_t c_in, h, w, in_stride;
  std::int64_t c_out, out_h, out_w, out_stride;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  std::int64_t groups = 1;  // each of the same number of input and of output channels, in order

  std::int64_t taps() const { return kernel_h * kernel_w; }
  std::int64_t in_image() const { return h * w * in_stride; }
  std::int64_t out_image() const { return out_h * out_w * out_stride; }
  std::int64_t in_group() const { return c_in / groups; }
  std::int64_t weight_floats() const { return taps() * in_group() * out_stride; }
  // Winograd's tiles, the last ones reaching over the edge.
  std::int64_t tiles_h() const { return (out_h + 3) / 4; }
  std::int64_t tiles_w() const { return (out_w + 3) / 4; }
  bool unpadded() const { return padding_h == 0 && padding_w == 0; }
  // Each output pixel comes from one input pixel, the one at its place.
  bool pointwise() const { return taps() == 1 && stride_h == 1 && stride_w == 1 && unpadded(); }
  // A linear layer: one output pixel, from all of the image.
  bool covers_image() const {
    return kernel_h == h && kernel_w == w && dilation_h == 1 && dilation_w == 1 && unpadded();
  }
};

// Whether the tile's transforms of Winograd cost less than the multiplications that they save.
// products: multiplications for a tap and an output pixel.
bool winograd_pays(const ConvShape& shape, std::int64_t products);

}  // namespace pyedge
