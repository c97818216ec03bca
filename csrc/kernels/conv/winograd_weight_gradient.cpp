#include "kernels/conv/winograd_weight_gradient.hpp"

#include <algorithm>

#include "kernels/conv/winograd.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// By images. Tiles at a time, and floats of their patches, slopes and of the sums that are to stay
// in a second-level cache: 1.7 MB.
constexpr std::int64_t few_tiles = 32;
constexpr std::int64_t cache_floats = 420000;
// Shares of the images times blocks of output channels: enough for four threads, few enough that
// putting their sums together is little work.
constexpr std::int64_t least_items = 4;
// Every block of output channels but the first transforms the same input again: a fifth more work
// with a block for so many channels. Fewer blocks of more channels were no faster, and by positions
// it took no less time and 6 MB more (120 x 138 channels).
constexpr std::int64_t block_channels = 60;

// By positions. Tiles of a chunk: 128, and more while the transformed gradients take less than
// 3 MB. All 36 sums are written and read once a chunk; with 128 tiles that is some third of the
// time of the multiplications (286 x 272 channels), with 64 it was most of it.
constexpr std::int64_t chunk_tiles = 128;
constexpr std::int64_t slope_floats = 3 << 18;
// Floats of a chunk's patches and sums for the input channels that are taken at a time: 6 MB. All
// 286 of them at once took as much memory as a sixth of the step.
constexpr std::int64_t block_floats = 3 << 19;

}  // namespace

WinogradWeightGradient::WinogradWeightGradient(const ConvShape& shape, const KernelTable& table,
                                               int workers)
    : s_(shape), table_(&table), tiles_h_(shape.tiles_h()), tiles_w_(shape.tiles_w()) {
  plan_images(workers);
  if (columns_ == 0) plan_positions(workers);
}

void WinogradWeightGradient::plan_images(int workers) {
  const std::int64_t lanes = table_->lanes, vectors = s_.out_stride / lanes;
  const std::int64_t n = std::max<std::int64_t>(s_.n, 1);
  band_ = std::clamp<std::int64_t>(few_tiles / tiles_w_, 1, tiles_h_);
  if (band_ == tiles_h_) {
    chunk_images_ = std::clamp<std::int64_t>(few_tiles / (tiles_h_ * tiles_w_), 1, n);
  }
  const std::int64_t tiles = chunk_images_ * band_ * tiles_w_;
  const std::int64_t patches = winograd_positions * winograd_step(tiles, s_.in_stride);
  const auto floats = [&](std::int64_t columns) {
    return patches +
           winograd_positions * (winograd_step(tiles, columns) + winograd_step(s_.c_in, columns));
  };
  const std::int64_t most = 1 + s_.out_stride / block_channels;
  std::int64_t blocks = 1;
  for (columns_ = s_.out_stride; floats(columns_) > cache_floats;) {
    if (++blocks > most) {
      columns_ = 0;
      return;
    }
    columns_ = (vectors + blocks - 1) / blocks * lanes;
  }
  blocks = (s_.out_stride + columns_ - 1) / columns_;
  parts_ = std::clamp<std::int64_t>((least_items + blocks - 1) / blocks, 1, n);
  item_floats_ = winograd_positions * winograd_step(s_.c_in, columns_);
  slopes_at_ = patches;
  regions_at_ = slopes_at_ + winograd_positions * winograd_step(tiles, columns_);
  worker_floats_ = regions_at_ + 16 +
                   std::max(winograd_patch * (4 * tiles_w_ + 2) * s_.in_stride,
                            whole_tiles() ? 0 : 16 * band_ * tiles_w_ * columns_);
  worker_floats_ = (worker_floats_ + 15) / 16 * 16;
  sums_at_ = worker_floats_ * workers;
  scratch_floats_ = sums_at_ + parts_ * blocks * item_floats_ + 16;
}

void WinogradWeightGradient::plan_positions(int workers) {
  const std::int64_t n = std::max<std::int64_t>(s_.n, 1);
  std::int64_t most = chunk_tiles;
  while (2 * most * winograd_positions * s_.out_stride <= slope_floats) most *= 2;
  band_ = tiles_h_;
  chunk_images_ = std::clamp<std::int64_t>(most / (tiles_h_ * tiles_w_), 1, n);
  const std::int64_t tiles = chunk_images_ * tiles_h_ * tiles_w_;
  const std::int64_t channel = winograd_positions * (tiles + s_.out_stride);
  const std::int64_t blocks =
      std::max<std::int64_t>((s_.in_stride * channel + block_floats / 2) / block_floats, 1);
  block_ = (s_.in_stride / table_->lanes + blocks - 1) / blocks * table_->lanes;
  worker_floats_ = 16 + std::max(winograd_patch * (4 * tiles_w_ + 2) * block_,
                                 whole_tiles() ? 0 : 16 * tiles_h_ * tiles_w_ * s_.out_stride);
  slopes_at_ = winograd_positions * winograd_step(tiles, block_);
  sums_at_ = slopes_at_ + winograd_positions * winograd_step(tiles, s_.out_stride);
  regions_at_ = sums_at_ + winograd_positions * block_ * s_.out_stride + 16;
  scratch_floats_ = regions_at_ + worker_floats_ * workers + 64;
}

void WinogradWeightGradient::run(const float* input, const Lens& lens, const float* gradient,
                                 float* weights, float* scratch) const {
  if (s_.n == 0) return;
  if (columns_ > 0) return run_images(input, lens, gradient, weights, scratch);
  run_positions(input, lens, gradient, weights, scratch);
}

void WinogradWeightGradient::run_images(const float* input, const Lens& lens, const float* gradient,
                                        float* weights, float* scratch) const {
  const std::int64_t blocks = (s_.out_stride + columns_ - 1) / columns_;
  const auto channels = [&](std::int64_t block) {
    return Channels{block * columns_, std::min(columns_, s_.out_stride - block * columns_)};
  };
  parallel_for_workers(parts_ * blocks, [&](std::int64_t item, int worker) {
    const std::int64_t part = item / blocks;
    sum_up(input, lens, gradient, part * s_.n / parts_, (part + 1) * s_.n / parts_,
           channels(item % blocks), scratch + sums_at_ + item * item_floats_,
           scratch + worker * worker_floats_);
  });
  parallel_for(s_.c_in, [&](std::int64_t row) {
    for (std::int64_t item = 0; item < parts_ * blocks; ++item) {
      const Channels c = channels(item % blocks);
      table_->winograd_weight_gradient(
          scratch + sums_at_ + item * item_floats_ + row * c.width, winograd_step(s_.c_in, c.width),
          c.width, weights + row * s_.out_stride + c.first, s_.c_in * s_.out_stride);
    }
  });
}

void WinogradWeightGradient::sum_up(const float* input, const Lens& lens, const float* gradient,
                                    std::int64_t first, std::int64_t end, Channels columns,
                                    float* sums, float* own) const {
  float *patches = own, *slopes = own + slopes_at_, *region = own + regions_at_;
  bool begun = false;
  for (std::int64_t image = first; image < end; image += chunk_images_) {
    for (std::int64_t row = 0; row < tiles_h_; row += band_) {
      const Tiles t{image, std::min(chunk_images_, end - image), row,
                    std::min(band_, tiles_h_ - row)};
      const std::int64_t tiles = t.images * t.rows * tiles_w_;
      const std::int64_t in_step = winograd_step(tiles, s_.in_stride),
                         out_step = winograd_step(tiles, columns.width);
      transform_gradient(gradient, t, columns, region, slopes, out_step);
      transform_input(input, lens, t, {0, s_.in_stride}, region, patches, in_step);
      for (int position = 0; position < winograd_positions; ++position) {
        ChannelGemm g{};
        g.a = patches + position * in_step;
        g.b = slopes + position * out_step;
        g.c = sums + position * winograd_step(s_.c_in, columns.width);
        g.images = g.runs = 1;
        g.length = tiles;
        g.a_step = s_.in_stride;
        g.b_step = g.c_step = columns.width;
        g.rows = s_.c_in;
        g.vectors = columns.width / table_->lanes;
        g.accumulate = begun;
        table_->gemm_channels(g);
      }
      begun = true;
    }
  }
}

void WinogradWeightGradient::run_positions(const float* input, const Lens& lens,
                                           const float* gradient, float* weights,
                                           float* scratch) const {
  for (std::int64_t first = 0; first < s_.n; first += chunk_images_) {
    const std::int64_t images = std::min(chunk_images_, s_.n - first);
    const std::int64_t image_tiles = tiles_h_ * tiles_w_, tiles = images * image_tiles;
    const auto each_image = [&](std::int64_t width, const auto& transform) {
      parallel_for_workers(images, [&](std::int64_t i, int worker) {
        transform(Tiles{first + i, 1, 0, tiles_h_}, scratch + regions_at_ + worker * worker_floats_,
                  i * image_tiles * width, winograd_step(tiles, width));
      });
    };
    each_image(s_.out_stride, [&](Tiles t, float* region, std::int64_t at, std::int64_t step) {
      transform_gradient(gradient, t, {0, s_.out_stride}, region, scratch + slopes_at_ + at, step);
    });
    for (std::int64_t c = 0; c < s_.in_stride; c += block_) {
      const Channels block{c, std::min(block_, s_.in_stride - c)};
      each_image(block.width, [&](Tiles t, float* region, std::int64_t at, std::int64_t step) {
        transform_input(input, lens, t, block, region, scratch + at, step);
      });
      add_products(images, block, weights, scratch);
    }
  }
}

void WinogradWeightGradient::transform_input(const float* input, const Lens& lens, Tiles tiles,
                                             Channels channels, float* region, float* patches,
                                             std::int64_t step) const {
  const std::int64_t columns = 4 * tiles_w_ + 2, line = columns * channels.width;
  const Lens part = lens.channels(channels.first);
  for (std::int64_t i = 0; i < tiles.images; ++i) {
    for (std::int64_t row = 0; row < tiles.rows; ++row) {
      table_->copy_region({input + (tiles.image + i) * s_.in_image() + channels.first, s_.h, s_.w,
                           s_.in_stride, 4 * (tiles.row + row) - s_.padding_h, -s_.padding_w,
                           winograd_patch, columns, part, region, channels.width});
      table_->winograd_input(region, line, channels.width, tiles_w_, patches, step);
      patches += tiles_w_ * channels.width;
    }
  }
}

void WinogradWeightGradient::transform_gradient(const float* gradient, Tiles tiles,
                                                Channels channels, float* region, float* slopes,
                                                std::int64_t step) const {
  for (std::int64_t i = 0; i < tiles.images; ++i) {
    const float* from = gradient + (tiles.image + i) * s_.out_image() + channels.first;
    std::int64_t stride = s_.out_stride, line = s_.out_w * s_.out_stride;
    if (whole_tiles()) {
      from += 4 * tiles.row * line;
    } else {
      stride = channels.width;
      line = 4 * tiles_w_ * stride;
      table_->copy_region({from,
                           s_.out_h,
                           s_.out_w,
                           s_.out_stride,
                           4 * tiles.row,
                           0,
                           4 * tiles.rows,
                           4 * tiles_w_,
                           {},
                           region,
                           channels.width});
      from = region;
    }
    for (std::int64_t row = 0; row < tiles.rows; ++row) {
      table_->winograd_gradient(from + 4 * row * line, line, stride, channels.width, tiles_w_,
                                slopes, step);
      slopes += tiles_w_ * channels.width;
    }
  }
}

void WinogradWeightGradient::add_products(std::int64_t images, Channels block, float* weights,
                                          float* scratch) const {
  const std::int64_t tiles = images * tiles_h_ * tiles_w_;
  const std::int64_t rows = std::min(block.width, s_.c_in - block.first);
  float* sums = scratch + sums_at_;
  parallel_for(winograd_positions, [&](std::int64_t position) {
    ChannelGemm g{};
    g.a = scratch + position * winograd_step(tiles, block.width);
    g.b = scratch + slopes_at_ + position * winograd_step(tiles, s_.out_stride);
    g.c = sums + position * rows * s_.out_stride;
    g.images = g.runs = 1;
    g.length = tiles;
    g.a_step = block.width;
    g.b_step = g.c_step = s_.out_stride;
    g.rows = rows;
    g.vectors = s_.out_stride / table_->lanes;
    table_->gemm_channels(g);
  });
  parallel_for(rows, [&](std::int64_t row) {
    table_->winograd_weight_gradient(sums + row * s_.out_stride, rows * s_.out_stride,
                                     s_.out_stride, weights + (block.first + row) * s_.out_stride,
                                     s_.c_in * s_.out_stride);
  });
}

}  // namespace pyedge
