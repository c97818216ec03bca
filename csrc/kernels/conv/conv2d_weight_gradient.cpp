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
  winograd_ =
      s_.groups == 1 && winograd_pays(s_, s_.c_in * s_.c_out) && s_.in_stride % table.lanes == 0;
  if (winograd_) {
    tiles_ = WinogradWeightGradient(s_, table, workers);
    return;
  }
  matrix_ = s_.covers_image() || s_.pointwise();
  region_rows_ = (s_.out_h - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
  region_columns_ = (s_.out_w - 1) * s_.stride_w + (s_.kernel_w - 1) * s_.dilation_w + 1;
  image_floats_ = matrix_ ? s_.in_image() : region_rows_ * region_columns_ * s_.in_stride;
  chunk_ = std::clamp<std::int64_t>(chunk_floats / std::max<std::int64_t>(image_floats_, 1), 1,
                                    std::max<std::int64_t>(s_.n, 1));
  if (s_.groups > 1) {
    panels_ = ChannelPanels(s_, table);
    worker_floats_ = (panels_.largest() + 15) / 16 * 16;
  }
  sums_at_ = (chunk_ * image_floats_ + 79) / 16 * 16;
  scratch_floats_ = sums_at_ + workers * worker_floats_;
}

void ConvWeightGradient::run(const float* input, const Lens& lens, const float* gradient,
                             float* weights, float* scratch) const {
  if (winograd_) return tiles_.run(input, lens, gradient, weights, scratch);
  const std::int64_t line = (matrix_ ? s_.w : region_columns_) * s_.in_stride;
  for (std::int64_t first = 0; first < s_.n; first += chunk_) {
    const std::int64_t images = std::min(chunk_, s_.n - first);
    const float* from = input + first * s_.in_image();
    if (!matrix_ || !lens.plain()) {
      parallel_for(images, [&](std::int64_t i) {
        table_->copy_region({from + i * s_.in_image(), s_.h, s_.w, s_.in_stride, -s_.padding_h,
                             -s_.padding_w, matrix_ ? s_.h : region_rows_,
                             matrix_ ? s_.w : region_columns_, lens, scratch + i * image_floats_});
      });
      from = scratch;
    }
    const float* slope = gradient + first * s_.out_image();
    if (s_.groups == 1) {
      add_taps(from, line, images, slope, weights);
    } else {
      add_groups(from, line, images, slope, weights, scratch + sums_at_);
    }
  }
}

// Of one tap, from input channel `from` on and output channel `first` on; the result is left open.
ChannelGemm ConvWeightGradient::products(const float* input, std::int64_t line, std::int64_t images,
                                         const float* gradient, std::int64_t tap) const {
  const std::int64_t y = tap / s_.kernel_w * s_.dilation_h, x = tap % s_.kernel_w * s_.dilation_w;
  ChannelGemm g{};
  g.a = input + y * line + x * s_.in_stride;
  g.b = gradient;
  g.b_step = s_.out_stride;
  if (s_.out_h * s_.out_w == 1) {  // images are the pixels
    g.images = g.runs = 1;
    g.length = images;
    g.a_step = image_floats_;
  } else {
    g.images = images;
    g.a_image = image_floats_;
    g.b_image = s_.out_image();
    g.runs = s_.out_h;
    g.a_run = s_.stride_h * line;
    g.b_run = s_.out_w * s_.out_stride;
    g.length = s_.out_w;
    g.a_step = s_.stride_w * s_.in_stride;
  }
  return g;
}

void ConvWeightGradient::add_taps(const float* input, std::int64_t line, std::int64_t images,
                                  const float* gradient, float* weights) const {
  const std::int64_t pieces = (s_.c_in + item_channels - 1) / item_channels;
  parallel_for(s_.taps() * pieces, [&](std::int64_t item) {
    const std::int64_t tap = item / pieces, c = item % pieces * item_channels;
    ChannelGemm g = products(input, line, images, gradient, tap);
    g.a += c;
    g.c = weights + (tap * s_.c_in + c) * s_.out_stride;
    g.rows = std::min(item_channels, s_.c_in - c);
    g.c_step = s_.out_stride;
    g.vectors = s_.out_stride / table_->lanes;
    g.accumulate = true;
    table_->gemm_channels(g);
  });
}

// A panel's channels with all that it sees, of which those within a group are added.
void ConvWeightGradient::add_groups(const float* input, std::int64_t line, std::int64_t images,
                                    const float* gradient, float* weights, float* sums) const {
  const auto panels = static_cast<std::int64_t>(panels_.all().size());
  parallel_for_workers(s_.taps() * panels, [&](std::int64_t item, int worker) {
    const std::int64_t tap = item / panels;
    const ChannelPanel& panel = panels_.all()[static_cast<std::size_t>(item % panels)];
    float* own = sums + worker * worker_floats_;
    ChannelGemm g = products(input, line, images, gradient, tap);
    g.a += panel.from;
    g.b += panel.first;
    g.c = own;
    g.rows = panel.k;
    g.c_step = panel.width;
    g.vectors = panel.width / table_->lanes;
    table_->gemm_channels(g);
    panels_.add(panel, own, weights + tap * s_.in_group() * s_.out_stride);
  });
}

}  // namespace pyedge
