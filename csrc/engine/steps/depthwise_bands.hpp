// A window that slides over an image channel by channel, and the rows of output that a worker takes
// at a time.
#pragma once

#include <algorithm>
#include <cstdint>

#include "engine/steps/operator.hpp"
#include "kernels/conv/depthwise.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

DepthwiseWindow depthwise_window(const StepOf& of, const float* weights);

struct DepthwiseBands {
  std::int64_t h, w;  // of the output
  std::int64_t stride, top, left;
  std::int64_t rows, in_rows, in_row;

  static DepthwiseBands forward(const StepOf& of);
  // Of steps of one pixel: from the output's gradient to the input's, the window turned around.
  static DepthwiseBands backward(const StepOf& of);

  std::int64_t floats() const { return in_rows * in_row; }
  // The input's row after the last that output rows [0, end) see, without the border.
  std::int64_t seen_by(std::int64_t end) const {
    return end == 0 ? 0 : (end - 1) * stride + reach_ - top;
  }

  // Rows of the input, through its lens and with its border, out of an image that begins at its row
  // 0, or at a later one: `row` counts from there.
  void copy(const KernelTable& table, const ImageView& image, std::int64_t row, std::int64_t count,
            float* to, std::int64_t ahead = 0) const {
    table.copy_region({image.data, image.h, image.w, image.stride, row, -left, count,
                       in_row / image.stride, image.lens, to, 0, ahead});
  }

  // body(band) for output rows [first, end). fill(row, count, to) copies rows of the input with its
  // border, numbered from the image's first: each once, into a ring that holds a band's.
  template <typename Fill, typename Body>
  void each(std::int64_t first, std::int64_t end, float* ring, const Fill& fill,
            const Body& body) const {
    std::int64_t copied = 0;  // rows of the bordered image
    for (; first < end; first += rows) {
      const std::int64_t now = std::min(rows, end - first), begin = first * stride;
      const std::int64_t last = begin + in_rows - (rows - now) * stride;
      for (copied = std::max(copied, begin); copied < last;) {
        const std::int64_t at = copied % in_rows, count = std::min(last - copied, in_rows - at);
        fill(copied - top, count, ring + at * in_row);
        copied += count;
      }
      body(DepthwiseBand{ring, in_rows, in_row, begin % in_rows, first, now, w});
    }
  }

 private:
  DepthwiseBands(const Node& node, std::int64_t out_h, std::int64_t out_w,
                 const std::int64_t (&steps)[2], const std::int64_t (&padding)[2],
                 std::int64_t pixel_floats);

  std::int64_t reach_;  // rows that a row of output sees
};

}  // namespace pyedge
