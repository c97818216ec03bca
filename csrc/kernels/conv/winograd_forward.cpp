#include "kernels/conv/winograd_forward.hpp"

#include <algorithm>

#include "kernels/conv/int8_weights.hpp"
#include "kernels/conv/winograd.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Tiles at a time: as many as leave room in the cache, or enough that reading all weights once for
// them is little beside the multiplications.
constexpr std::int64_t few_tiles = 32, many_tiles = 64;
// Floats of patches, of a panel of weights and of its products that are to stay in a second-level
// cache: 1.3 MB.
constexpr std::int64_t cache_floats = 340000;
// Output channels at a time where there are groups: patches and products of 32 tiles take 600 KB.
constexpr std::int64_t group_channels = 64;
// In 8 bits: each patch and position has a scale of its own.
constexpr InputScale patch_scale{1.0f, 128};

}  // namespace

WinogradForward::WinogradForward(const ConvShape& shape, const ChannelPanels& panels,
                                 const KernelTable& table, int workers, const HalfKernels* half,
                                 const Int8Kernels* int8)
    : s_(shape),
      table_(&table),
      half_(half),
      int8_(int8),
      in_one_(panels.in_one()),
      panels_(panels),
      tiles_h_(shape.tiles_h()),
      tiles_w_(shape.tiles_w()) {
  const std::int64_t columns = choose_columns();
  blocks_ = panels_.blocks(columns > 0 ? columns : s_.out_stride);
  deal_out(columns > 0 ? few_tiles : many_tiles, workers);
  const std::int64_t tiles = chunk_images_ * band_ * tiles_w_;
  for (const PanelBlock& block : blocks_) {
    const std::int64_t patches = winograd_positions * winograd_step(tiles, patch(block));
    region_at_ =
        std::max(region_at_, patches + winograd_positions * winograd_step(tiles, block.width));
    // in 8 bits a patch in float32 lies behind the region
    const std::int64_t whole = int8 != nullptr ? winograd_positions * channels(block) : 0;
    region_floats_ =
        std::max(region_floats_, winograd_patch * (4 * tiles_w_ + 2) * channels(block) + whole);
  }
  worker_floats_ = (region_at_ + region_floats_ + 31) / 16 * 16;
  scratch_floats_ = worker_floats_ * workers;
}

// Output channels at a time; 0: all, and too many for a cache.
std::int64_t WinogradForward::choose_columns() const {
  if (s_.groups > 1) return group_channels;
  const std::int64_t panel =
      std::min<std::int64_t>(table_->tile_vectors * table_->lanes, s_.out_stride);
  const auto floats = [&](std::int64_t columns) {
    return winograd_positions * (winograd_step(few_tiles, s_.in_stride / in_one_) +
                                 winograd_step(few_tiles, columns) + s_.c_in * columns / in_one_);
  };
  if (floats(panel) > cache_floats) return 0;
  std::int64_t columns = s_.out_stride;
  while (floats(columns) > cache_floats) columns = (columns - 1) / panel * panel;
  return columns;
}

void WinogradForward::deal_out(std::int64_t tiles, int workers) {
  const std::int64_t n = std::max<std::int64_t>(s_.n, 1);
  band_ = std::clamp<std::int64_t>(tiles / tiles_w_, 1, tiles_h_);
  if (band_ < tiles_h_ && n < 2 * workers) return;  // items that are bands
  item_images_ = std::max<std::int64_t>(tiles / (tiles_h_ * tiles_w_), 1);
  // as many for each thread: 16 images of 8x8 would else be one item
  const std::int64_t items = (n + item_images_ - 1) / item_images_;
  const std::int64_t even = (items + workers - 1) / workers * workers;
  item_images_ = (n + even - 1) / even;
  if (band_ == tiles_h_) chunk_images_ = item_images_;
}

std::int64_t WinogradForward::packed_floats() const {
  return winograd_positions * panels_.packed_floats(1);
}

std::int64_t WinogradForward::pack_scratch_floats() const {
  if (s_.groups == 1 && in_one_ == 1) return 0;
  return (9 + winograd_positions) * panels_.largest() * in_one_;
}

// [36, a tap's panels]
void WinogradForward::pack(const float* weights, float* packed, float* scratch) const {
  if (in_one_ > 1) return pack_low(weights, packed, scratch);
  if (s_.groups == 1) return table_->winograd_weights(weights, s_.c_in, s_.out_stride, packed);
  for (const ChannelPanel& panel : panels_.all()) {
    const std::int64_t floats = panel.k * panel.width;
    for (std::int64_t tap = 0; tap < 9; ++tap) {
      panels_.expand(panel, weights + tap * s_.in_group() * s_.out_stride, scratch + tap * floats);
    }
    float* transformed = scratch + 9 * floats;
    table_->winograd_weights(scratch, panel.k, panel.width, transformed);
    for (int position = 0; position < winograd_positions; ++position) {
      std::copy_n(transformed + position * floats, floats,
                  packed + position * panels_.floats() + panel.at);
    }
  }
}

// Transformed in float32, panel by panel, and then rounded.
void WinogradForward::pack_low(const float* weights, float* packed, float* scratch) const {
  for (const ChannelPanel& panel : panels_.all()) {
    const std::int64_t floats = s_.c_in * panel.width;
    float* transformed = scratch + 9 * floats;
    for (std::int64_t row = 0; row < 9 * s_.c_in; ++row) {
      std::copy_n(weights + row * s_.out_stride + panel.first, panel.width,
                  scratch + row * panel.width);
    }
    table_->winograd_weights(scratch, s_.c_in, panel.width, transformed);
    for (int position = 0; position < winograd_positions; ++position) {
      const float* from = transformed + position * floats;
      float* to = packed + position * panels_.packed_floats(1) + panel.at;
      if (int8_ != nullptr) {
        pack_int8({from, 1, 0, s_.c_in, panel.width, panel.width}, patch_scale, int8_->less,
                  to + 2 * panel.first);
      } else {
        panels_.pair_up(panel, from, panel.width, to);
      }
    }
  }
}

void WinogradForward::run(const float* input, const Lens& lens, const float* packed,
                          const Finish& finish, float* scratch, const PerImage& per_image) const {
  const auto run = [&](Tiles tiles, int worker) {
    run_tiles(input, lens, packed, finish, tiles, scratch + worker * worker_floats_);
  };
  if (item_images_ == 0) {
    const std::int64_t bands = (tiles_h_ + band_ - 1) / band_;
    return per_image.around_bands(
        s_.n, bands, [&](std::int64_t image, std::int64_t band, int worker) {
          run({image, 1, band * band_, std::min(band_, tiles_h_ - band * band_)}, worker);
        });
  }
  const std::int64_t items = (s_.n + item_images_ - 1) / item_images_;
  parallel_for_workers(items, [&](std::int64_t item, int worker) {
    const std::int64_t end = std::min((item + 1) * item_images_, s_.n);
    for (std::int64_t i = item * item_images_; i < end; i += chunk_images_) {
      const std::int64_t images = std::min(chunk_images_, end - i);
      for (std::int64_t k = i; k < i + images; ++k) per_image.begin(k, worker);
      for (std::int64_t row = 0; row < tiles_h_; row += band_) {
        run({i, images, row, std::min(band_, tiles_h_ - row)}, worker);
      }
      for (std::int64_t k = i; k < i + images; ++k) per_image.end(k, worker);
    }
  });
}

void WinogradForward::run_tiles(const float* input, const Lens& lens, const float* packed,
                                const Finish& finish, Tiles t, float* own) const {
  const std::int64_t tiles = t.images * t.rows * tiles_w_;
  const std::int64_t no_offset = 0;
  for (const PanelBlock& block : blocks_) {
    const std::int64_t in_step = winograd_step(tiles, patch(block));
    const std::int64_t out_step = winograd_step(tiles, block.width);
    float* products = own + winograd_positions * in_step;
    if (s_.groups > 1 || &block == &blocks_.front()) {
      transform(input, lens, t, block, own + region_at_, own, in_step);
    }
    for (int position = 0; position < winograd_positions; ++position) {
      PixelGemm g{};
      g.a = own + position * in_step;
      g.b = packed + position * panels_.packed_floats(1);
      g.c = products + position * out_step;
      g.tap_offsets = &no_offset;
      g.lines = 1, g.rows = tiles, g.a_step = patch(block), g.c_step = block.width;
      g.taps = 1;
      g.scaled = int8_ != nullptr;
      panels_.multiply(g, block, block.first);
    }
    for (std::int64_t i = 0; i < t.images; ++i) {
      const Finish put = finish.at((t.image + i) * s_.out_image()).channels(block.first);
      for (std::int64_t row = 0; row < t.rows; ++row) {
        table_->winograd_output(products + (i * t.rows + row) * tiles_w_ * block.width, out_step,
                                tiles_w_, block.width, put, s_.out_h, s_.out_w, 4 * (t.row + row));
      }
    }
  }
}

void WinogradForward::transform(const float* input, const Lens& lens, Tiles t,
                                const PanelBlock& block, float* region, float* patches,
                                std::int64_t step) const {
  const std::int64_t columns = 4 * tiles_w_ + 2, line = columns * channels(block);
  const auto make_patches = half_ != nullptr ? half_->winograd_input : table_->winograd_input;
  for (std::int64_t i = 0; i < t.images; ++i) {
    for (std::int64_t row = 0; row < t.rows; ++row) {
      table_->copy_region({input + (t.image + i) * s_.in_image() + block.from, s_.h, s_.w,
                           s_.in_stride, 4 * (t.row + row) - s_.padding_h, -s_.padding_w,
                           winograd_patch, columns, lens.channels(block.from), region,
                           channels(block)});
      if (int8_ != nullptr) {
        quantize_tiles(region, line, block, region + winograd_patch * line, patches, step);
      } else {
        make_patches(region, line, channels(block), tiles_w_, patches, step);
      }
      patches += tiles_w_ * patch(block);
    }
  }
}

// Tile by tile, so that a patch in float32 stays in the first-level cache.
void WinogradForward::quantize_tiles(const float* region, std::int64_t line,
                                     const PanelBlock& block, float* floats, float* patches,
                                     std::int64_t step) const {
  const std::int64_t stride = channels(block);
  for (std::int64_t tile = 0; tile < tiles_w_; ++tile) {
    table_->winograd_input(region + 4 * tile * stride, line, stride, 1, floats, stride);
    int8_->quantize_patch(floats, stride, stride, patches + tile * patch(block), step,
                          (s_.c_in + 3) / 4);
  }
}

}  // namespace pyedge
