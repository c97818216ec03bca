// Convolution's weight gradient: a matrix product over pixels. The batch is taken in chunks of
// images; within a chunk every piece of the result belongs to one item, which adds up its pixels
// in order: the same bits for any number of threads.
#include <algorithm>

#include "kernels/conv/conv2d.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Floats of a chunk's inputs where they are copied: 6 MB.
constexpr std::int64_t chunk_floats = 3 << 19;
// Input channels an item: two tiles of AVX-512, more of the others.
constexpr std::int64_t item_channels = 28;

}  // namespace

ConvWeightGradient::ConvWeightGradient(const ConvShape& shape, const KernelTable& table,
                                       int workers)
    : s_(shape), table_(&table) {
  if (s_.groups > 1) {
    groups_ = GroupWeightGradient(s_, table, workers);
    scratch_floats_ = groups_.scratch_floats();
    return;
  }
  winograd_ = winograd_pays(s_, s_.c_in * s_.c_out) && s_.in_stride % table.lanes == 0;
  if (winograd_) {
    tiles_ = WinogradWeightGradient(s_, table, workers);
    return;
  }
  matrix_ = s_.covers_image() || s_.pointwise();
  region_rows_ = (s_.out_h - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
  region_columns_ = (s_.out_w - 1) * s_.stride_w + (s_.kernel_w - 1) * s_.dilation_w + 1;
  const std::int64_t image =
      matrix_ ? s_.in_image() : region_rows_ * region_columns_ * s_.in_stride;
  chunk_ = std::clamp<std::int64_t>(chunk_floats / std::max<std::int64_t>(image, 1), 1,
                                    std::max<std::int64_t>(s_.n, 1));
  scratch_floats_ = chunk_ * image + 64;
}

void ConvWeightGradient::run(const float* input, const Lens& lens, const float* gradient,
                             float* weights, float* scratch) const {
  if (winograd_) return tiles_.run(input, lens, gradient, weights, scratch);
  if (s_.groups > 1) return groups_.run(input, lens, gradient, weights, scratch);
  const std::int64_t image_floats =
      matrix_ ? s_.in_image() : region_rows_ * region_columns_ * s_.in_stride;
  const std::int64_t line = (matrix_ ? s_.w : region_columns_) * s_.in_stride;
  const std::int64_t pieces = (s_.c_in + item_channels - 1) / item_channels;
  for (std::int64_t first = 0; first < s_.n; first += chunk_) {
    const std::int64_t images = std::min(chunk_, s_.n - first);
    const float* from = input + first * s_.in_image();
    if (!matrix_ || !lens.plain()) {
      parallel_for(images, [&](std::int64_t i) {
        table_->copy_region({from + i * s_.in_image(), s_.h, s_.w, s_.in_stride, -s_.padding_h,
                             -s_.padding_w, matrix_ ? s_.h : region_rows_,
                             matrix_ ? s_.w : region_columns_, lens, scratch + i * image_floats});
      });
      from = scratch;
    }
    parallel_for(s_.taps() * pieces, [&](std::int64_t item) {
      const std::int64_t tap = item / pieces, c = item % pieces * item_channels;
      const std::int64_t y = tap / s_.kernel_w * s_.dilation_h,
                         x = tap % s_.kernel_w * s_.dilation_w;
      ChannelGemm g{};
      g.a = from + y * line + x * s_.in_stride + c;
      g.b = gradient + first * s_.out_image();
      g.c = weights + (tap * s_.c_in + c) * s_.out_stride;
      g.rows = std::min(item_channels, s_.c_in - c);
      g.c_step = g.b_step = s_.out_stride;
      g.vectors = s_.out_stride / table_->lanes;
      g.accumulate = true;
      if (s_.out_h * s_.out_w == 1) {  // images are the pixels
        g.images = g.runs = 1;
        g.length = images;
        g.a_step = image_floats;
      } else {
        g.images = images;
        g.a_image = image_floats;
        g.b_image = s_.out_image();
        g.runs = s_.out_h;
        g.a_run = s_.stride_h * line;
        g.b_run = s_.out_w * s_.out_stride;
        g.length = s_.out_w;
        g.a_step = s_.stride_w * s_.in_stride;
      }
      table_->gemm_channels(g);
    });
  }
}

}  // namespace pyedge
