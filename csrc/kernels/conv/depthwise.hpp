// Depthwise convolution, each channel by its own window: bands of an image's rows. Plain structs;
// the loops are in depthwise.simd.hpp.
#pragma once

#include <cstdint>

#include "kernels/conv/region.hpp"

namespace pyedge {

// The windows: taps [kernel_h kernel_w, stride] `weight_step` floats apart, less than 0 for windows
// that are turned around; a pixel has `stride` floats everywhere.
struct DepthwiseWindow {
  const float* weights;
  std::int64_t weight_step;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w;
  std::int64_t stride;

  bool three_by_three(std::int64_t step) const {
    return kernel_h == 3 && kernel_w == 3 && stride_h == step && stride_w == step &&
           dilation_h == 1 && dilation_w == 1;
  }
};

// Rows of output [rows, columns], and the input that they see with its border: output (y, x) sees
// column x stride_w + kx dilation_w of row(y stride_h + ky dilation_h). The input's rows lie in a
// ring, so that the next band finds those that it shares with this one.
struct DepthwiseBand {
  const float* ring;
  std::int64_t ring_rows, in_row;  // in_row: floats
  std::int64_t first;              // the ring's row that the band begins with
  std::int64_t top;                // and the image's, of the output
  std::int64_t rows, columns;
  // The input that the next band copies, asked for meanwhile: a row of it for a row of output,
  // next_row floats apart.
  const float* next = nullptr;
  std::int64_t next_row = 0;

  const float* row(std::int64_t y) const {  // y < ring_rows
    const std::int64_t at = first + y;
    return ring + (at < ring_rows ? at : at - ring_rows) * in_row;
  }
};

// An image of gradients of the output [out_h, out_w], and the input that gets its share, whose
// border is not stored: output (y, x) saw (y stride_h - padding_h + ky dilation_h, ...).
struct DepthwiseGradient {
  const float* gradient;
  std::int64_t out_h, out_w, h, w, padding_h, padding_w;
};

constexpr std::int64_t most_depthwise_taps = 128;

}  // namespace pyedge
