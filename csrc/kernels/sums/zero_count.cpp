// Splitting zero_count over threads. Counts are whole numbers: any split gives the same.
#include "kernels/sums/zero_count.hpp"

#include <algorithm>

#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// About 64 K floats an item: long enough to forget the cost of taking one (0.1 us), short enough
// to share a single image among threads.
constexpr std::int64_t item_floats = 1 << 16;

// Channels that one item takes of one image.
std::int64_t channels_per_item(const Shape& shape) {
  const std::int64_t channels = std::max<std::int64_t>(1, item_floats / shape.hw);
  if (shape.layout == Layout::nchw) return std::min(shape.c, channels);
  // Strips of a pixel's channels, never narrower than four cache lines; whole pixels, which
  // memory likes better, where there are images enough to go round.
  if (shape.n >= 2 * num_threads()) return shape.c;
  return std::min(shape.c, std::max<std::int64_t>(64, channels / 64 * 64));
}

// Calls body(image, first channel, channels) for each piece.
template <typename Body>
void for_each_piece(const Shape& shape, const Body& body) {
  if (shape.n == 0 || shape.c == 0) return;
  const std::int64_t channels = channels_per_item(shape);
  const std::int64_t pieces = (shape.c + channels - 1) / channels;
  parallel_for(shape.n * pieces, [&](std::int64_t item) {
    const std::int64_t first = item % pieces * channels;
    body(item / pieces, first, std::min(channels, shape.c - first));
  });
}

}  // namespace

void zero_count(const Shape& shape, const float* x, std::int32_t* counts) {
  if (shape.hw == 0) return std::fill_n(counts, shape.n * shape.c, 0), void();
  const KernelTable& table = kernel_table();
  for_each_piece(shape, [&](std::int64_t image, std::int64_t c, std::int64_t channels) {
    const float* from = x + image * image_size(shape);
    std::int32_t* to = counts + image * shape.c + c;
    if (shape.layout == Layout::nchw) {
      table.zero_count_rows(from + c * shape.hw, channels, shape.hw, to);
    } else {
      table.zero_count_pixels(from + c, shape.hw, shape.c, channels, to);
    }
  });
}

void zero_count_affine(const Shape& shape, const float* x, const float* scale, const float* shift,
                       std::int32_t* counts) {
  if (shape.hw == 0) return std::fill_n(counts, shape.n * shape.c, 0), void();
  const KernelTable& table = kernel_table();
  for_each_piece(shape, [&](std::int64_t image, std::int64_t c, std::int64_t channels) {
    const float* from = x + image * image_size(shape);
    std::int32_t* to = counts + image * shape.c + c;
    if (shape.layout == Layout::nchw) {
      table.zero_count_affine_rows(from + c * shape.hw, channels, shape.hw, scale + c, shift + c,
                                   to);
    } else {
      table.zero_count_affine_pixels(from + c, shape.hw, shape.c, channels, scale + c, shift + c,
                                     to);
    }
  });
}

}  // namespace pyedge
