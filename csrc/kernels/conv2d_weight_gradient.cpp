// Convolution's weight gradient: a matrix product over pixels. The batch is taken in chunks of
// images; within a chunk every piece of the result belongs to one item, which adds up its pixels
// in order: the same bits for any number of threads.
#include <algorithm>

#include "kernels/conv2d.hpp"
#include "kernels/thread_pool.hpp"
#include "kernels/winograd.hpp"

namespace pyedge {
namespace {

// Floats of a chunk's inputs where they are copied: 6 MB.
constexpr std::int64_t chunk_floats = 3 << 19;
// Tiles of a chunk: 128, and more while the transformed gradients take less than 6 MB. All 36 sums
// are written and read once a chunk; with 128 tiles that is some third of the time of the
// multiplications (286 x 272 channels), with 64 it was most of it.
constexpr std::int64_t chunk_tiles = 128;
constexpr std::int64_t slope_floats = 3 << 19;
// Floats of a chunk's patches and sums for the input channels that are taken at a time: 6 MB. All
// 286 of them at once took as much memory as a sixth of the step.
constexpr std::int64_t block_floats = 3 << 19;
// Input channels an item: two tiles of AVX-512, more of the others.
constexpr std::int64_t item_channels = 28;

}  // namespace

ConvWeightGradient::ConvWeightGradient(const ConvShape& shape, const KernelTable& table,
                                       int workers)
    : s_(shape), table_(&table) {
  winograd_ = winograd_pays(s_) && s_.in_stride % table.lanes == 0;
  const std::int64_t n = std::max<std::int64_t>(s_.n, 1);
  if (winograd_) {
    const std::int64_t tiles_h = s_.tiles_h(), tiles_w = s_.tiles_w();
    std::int64_t most = chunk_tiles;
    while (2 * most * winograd_positions * s_.out_stride <= slope_floats) most *= 2;
    chunk_ = std::clamp<std::int64_t>(most / (tiles_h * tiles_w), 1, n);
    const std::int64_t tiles = chunk_ * tiles_h * tiles_w;
    const std::int64_t channel = winograd_positions * (tiles + s_.out_stride);
    const std::int64_t blocks =
        std::max<std::int64_t>((s_.in_stride * channel + block_floats / 2) / block_floats, 1);
    block_ = (s_.in_stride / table.lanes + blocks - 1) / blocks * table.lanes;
    region_rows_ = 4 * tiles_h + 2;
    region_columns_ = 4 * tiles_w + 2;
    worker_floats_ = region_rows_ * region_columns_ * std::max(block_, s_.out_stride) + 16;
    slopes_at_ = winograd_positions * winograd_step(tiles, block_);
    sums_at_ = slopes_at_ + winograd_positions * winograd_step(tiles, s_.out_stride);
    regions_at_ = sums_at_ + winograd_positions * block_ * s_.out_stride + 16;
    scratch_floats_ = regions_at_ + worker_floats_ * workers + 64;
    return;
  }
  matrix_ = s_.covers_image() || s_.pointwise();
  region_rows_ = (s_.out_h - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
  region_columns_ = (s_.out_w - 1) * s_.stride_w + (s_.kernel_w - 1) * s_.dilation_w + 1;
  const std::int64_t image =
      matrix_ ? s_.in_image() : region_rows_ * region_columns_ * s_.in_stride;
  chunk_ = std::clamp<std::int64_t>(chunk_floats / std::max<std::int64_t>(image, 1), 1, n);
  scratch_floats_ = chunk_ * image + 64;
}

void ConvWeightGradient::run(const float* input, const Lens& lens, const float* gradient,
                             float* weights, float* scratch) const {
  if (s_.n == 0) return;
  if (winograd_) return run_winograd(input, lens, gradient, weights, scratch);
  run_direct(input, lens, gradient, weights, scratch);
}

void ConvWeightGradient::run_direct(const float* input, const Lens& lens, const float* gradient,
                                    float* weights, float* scratch) const {
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

void ConvWeightGradient::run_winograd(const float* input, const Lens& lens, const float* gradient,
                                      float* weights, float* scratch) const {
  for (std::int64_t first = 0; first < s_.n; first += chunk_) {
    const std::int64_t images = std::min(chunk_, s_.n - first);
    transform_gradient(gradient + first * s_.out_image(), images, scratch);
    for (std::int64_t c = 0; c < s_.c_in; c += block_) {
      transform_input(input + first * s_.in_image(), lens, images, c, scratch);
      add_products(images, c, weights, scratch);
    }
  }
}

void ConvWeightGradient::transform_gradient(const float* gradient, std::int64_t images,
                                            float* scratch) const {
  const std::int64_t tiles_h = s_.tiles_h(), tiles_w = s_.tiles_w(),
                     image_tiles = tiles_h * tiles_w;
  const std::int64_t step = winograd_step(images * image_tiles, s_.out_stride);
  const bool whole_tiles = s_.out_h % 4 == 0 && s_.out_w % 4 == 0;
  parallel_for_workers(images, [&](std::int64_t i, int worker) {
    const float* from = gradient + i * s_.out_image();
    std::int64_t line = s_.out_w * s_.out_stride;
    if (!whole_tiles) {
      float* region = scratch + regions_at_ + worker * worker_floats_;
      line = 4 * tiles_w * s_.out_stride;
      table_->copy_region(
          {from, s_.out_h, s_.out_w, s_.out_stride, 0, 0, 4 * tiles_h, 4 * tiles_w, {}, region});
      from = region;
    }
    for (std::int64_t row = 0; row < tiles_h; ++row) {
      table_->winograd_gradient(
          from + 4 * row * line, line, s_.out_stride, tiles_w,
          scratch + slopes_at_ + (i * image_tiles + row * tiles_w) * s_.out_stride, step);
    }
  });
}

// Of the block of input channels that begins with c.
void ConvWeightGradient::transform_input(const float* input, const Lens& lens, std::int64_t images,
                                         std::int64_t c, float* scratch) const {
  const std::int64_t tiles_h = s_.tiles_h(), tiles_w = s_.tiles_w(),
                     image_tiles = tiles_h * tiles_w;
  const std::int64_t width = std::min(block_, s_.in_stride - c);
  const std::int64_t step = winograd_step(images * image_tiles, width);
  const std::int64_t line = region_columns_ * width;
  Lens of_block = lens;
  if (lens.scale != nullptr) of_block.scale += c, of_block.shift += c;
  parallel_for_workers(images, [&](std::int64_t i, int worker) {
    float* region = scratch + regions_at_ + worker * worker_floats_;
    table_->copy_region({input + i * s_.in_image() + c, s_.h, s_.w, s_.in_stride, -s_.padding_h,
                         -s_.padding_w, region_rows_, region_columns_, of_block, region, width});
    for (std::int64_t row = 0; row < tiles_h; ++row) {
      table_->winograd_input(region + 4 * row * line, line, width, tiles_w,
                             scratch + (i * image_tiles + row * tiles_w) * width, step);
    }
  });
}

void ConvWeightGradient::add_products(std::int64_t images, std::int64_t c, float* weights,
                                      float* scratch) const {
  const std::int64_t tiles = images * s_.tiles_h() * s_.tiles_w();
  const std::int64_t width = std::min(block_, s_.in_stride - c),
                     rows = std::min(width, s_.c_in - c);
  float* sums = scratch + sums_at_;
  parallel_for(winograd_positions, [&](std::int64_t position) {
    ChannelGemm g{};
    g.a = scratch + position * winograd_step(tiles, width);
    g.b = scratch + slopes_at_ + position * winograd_step(tiles, s_.out_stride);
    g.c = sums + position * rows * s_.out_stride;
    g.images = g.runs = 1;
    g.length = tiles;
    g.a_step = width;
    g.b_step = g.c_step = s_.out_stride;
    g.rows = rows;
    g.vectors = s_.out_stride / table_->lanes;
    table_->gemm_channels(g);
  });
  parallel_for(rows, [&](std::int64_t row) {
    table_->winograd_weight_gradient(sums + row * s_.out_stride, rows * s_.out_stride,
                                     s_.out_stride, weights + (c + row) * s_.out_stride,
                                     s_.c_in * s_.out_stride);
  });
}

}  // namespace pyedge
