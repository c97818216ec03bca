#include "kernels/conv/group_weight_gradient.hpp"

#include <algorithm>

#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Of a band's input channels: in the map itself, pixels of 128 channels lie 512 bytes apart, and
// all of them would want the same few lines of a first-level cache. (Copied for the forward pass
// and the input's gradient too, they took as long as they had.)
constexpr std::int64_t band_floats = 1 << 13;

std::int64_t whole_lines(std::int64_t floats) {
  return (floats + 15) / 16 * 16;
}

}  // namespace

GroupWeightGradient::GroupWeightGradient(const ConvShape& shape, const KernelTable& table,
                                         int workers)
    : s_(shape), table_(&table), panels_(shape, table), blocks_(panels_.blocks(1)) {
  columns_ = (s_.out_w - 1) * s_.stride_w + (s_.kernel_w - 1) * s_.dilation_w + 1;
  std::int64_t widest = 0;
  for (const PanelBlock& block : blocks_) widest = std::max(widest, block.width);
  const std::int64_t line = columns_ * (blocks_.empty() ? 0 : blocks_[0].count);
  band_ = std::clamp<std::int64_t>(band_floats / std::max<std::int64_t>(line * s_.stride_h, 1), 1,
                                   std::max<std::int64_t>(s_.out_h, 1));
  const std::int64_t rows = (band_ - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
  slopes_at_ = whole_lines(rows * line);
  sums_at_ = slopes_at_ + whole_lines(band_ * s_.out_w * widest);
  worker_floats_ = sums_at_ + whole_lines(s_.taps() * panels_.largest());
  scratch_floats_ = workers * worker_floats_;
}

void GroupWeightGradient::run(const float* input, const Lens& lens, const float* gradient,
                              float* weights, float* scratch) const {
  if (s_.n == 0) return;
  parallel_for_workers(
      static_cast<std::int64_t>(blocks_.size()), [&](std::int64_t item, int worker) {
        const PanelBlock& block = blocks_[static_cast<std::size_t>(item)];
        const ChannelPanel& panel = panels_.all()[static_cast<std::size_t>(item)];
        float* region = scratch + worker * worker_floats_;
        float *slopes = region + slopes_at_, *sums = region + sums_at_;
        for (std::int64_t image = 0; image < s_.n; ++image) {
          for (std::int64_t first = 0; first < s_.out_h; first += band_) {
            const std::int64_t rows = std::min(band_, s_.out_h - first);
            table_->copy_region({input + image * s_.in_image() + block.from, s_.h, s_.w,
                                 s_.in_stride, first * s_.stride_h - s_.padding_h, -s_.padding_w,
                                 (rows - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1,
                                 columns_, lens.channels(block.from), region, block.count});
            table_->copy_region({gradient + image * s_.out_image() + block.first,
                                 s_.out_h,
                                 s_.out_w,
                                 s_.out_stride,
                                 first,
                                 0,
                                 rows,
                                 s_.out_w,
                                 {},
                                 slopes,
                                 block.width});
            add_band(panel, block, region, slopes, rows, image + first > 0, sums);
          }
        }
        for (std::int64_t tap = 0; tap < s_.taps(); ++tap) {
          panels_.add(panel, sums + tap * panel.k * panel.width,
                      weights + tap * s_.in_group() * s_.out_stride);
        }
      });
}

void GroupWeightGradient::add_band(const ChannelPanel& panel, const PanelBlock& block,
                                   const float* region, const float* slopes, std::int64_t rows,
                                   bool begun, float* sums) const {
  const std::int64_t line = columns_ * block.count;
  for (std::int64_t tap = 0; tap < s_.taps(); ++tap) {
    const std::int64_t y = tap / s_.kernel_w * s_.dilation_h, x = tap % s_.kernel_w * s_.dilation_w;
    ChannelGemm g{};
    g.a = region + y * line + x * block.count + panel.from - block.from;
    g.b = slopes;
    g.c = sums + tap * panel.k * panel.width;
    g.images = 1;
    g.runs = rows;
    g.a_run = s_.stride_h * line, g.b_run = s_.out_w * panel.width;
    g.length = s_.out_w;
    g.a_step = s_.stride_w * block.count, g.b_step = panel.width;
    g.rows = panel.k;
    g.c_step = panel.width;
    g.vectors = panel.width / table_->lanes;
    g.accumulate = begun;
    table_->gemm_channels(g);
  }
}

}  // namespace pyedge
