#include "kernels/conv/winograd_forward.hpp"

#include <algorithm>

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

}  // namespace

WinogradForward::WinogradForward(const ConvShape& shape, const KernelTable& table, int workers)
    : s_(shape), table_(&table), tiles_h_(shape.tiles_h()), tiles_w_(shape.tiles_w()) {
  const std::int64_t panel =
      std::min<std::int64_t>(table.tile_vectors * table.lanes, s_.out_stride);
  const auto floats = [&](std::int64_t columns) {
    return winograd_positions * (winograd_step(few_tiles, s_.in_stride) +
                                 winograd_step(few_tiles, columns) + s_.c_in * columns);
  };
  columns_ = s_.out_stride;
  const bool fits = floats(panel) <= cache_floats;
  while (fits && floats(columns_) > cache_floats) columns_ = (columns_ - 1) / panel * panel;
  deal_out(fits ? few_tiles : many_tiles, workers);
  const std::int64_t tiles = chunk_images_ * band_ * tiles_w_;
  worker_floats_ =
      winograd_patch * (4 * tiles_w_ + 2) * s_.in_stride +
      winograd_positions * (winograd_step(tiles, s_.in_stride) + winograd_step(tiles, columns_));
  worker_floats_ = (worker_floats_ + 31) / 16 * 16;
  scratch_floats_ = worker_floats_ * workers;
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
  return winograd_positions * s_.c_in * s_.out_stride;
}

void WinogradForward::pack(const float* weights, float* packed) const {
  table_->winograd_weights(weights, s_.c_in, s_.out_stride, packed);
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
  const std::int64_t columns = 4 * tiles_w_ + 2, line = columns * s_.in_stride;
  const std::int64_t tiles = t.images * t.rows * tiles_w_;
  const std::int64_t in_step = winograd_step(tiles, s_.in_stride);
  float *region = own, *patches = region + winograd_patch * line;
  float* products = patches + winograd_positions * in_step;
  for (std::int64_t i = 0; i < t.images; ++i) {
    for (std::int64_t row = 0; row < t.rows; ++row) {
      table_->copy_region({input + (t.image + i) * s_.in_image(), s_.h, s_.w, s_.in_stride,
                           4 * (t.row + row) - s_.padding_h, -s_.padding_w, winograd_patch, columns,
                           lens, region});
      table_->winograd_input(region, line, s_.in_stride, tiles_w_,
                             patches + (i * t.rows + row) * tiles_w_ * s_.in_stride, in_step);
    }
  }
  const std::int64_t no_offset = 0;
  for (std::int64_t c = 0; c < s_.out_stride; c += columns_) {
    const std::int64_t width = std::min(columns_, s_.out_stride - c);
    const std::int64_t out_step = winograd_step(tiles, width);
    for (int position = 0; position < winograd_positions; ++position) {
      PixelGemm g{};
      g.a = patches + position * in_step;
      g.b = packed + s_.c_in * (position * s_.out_stride + c);
      g.c = products + position * out_step;
      g.tap_offsets = &no_offset;
      g.lines = 1, g.rows = tiles, g.a_step = s_.in_stride, g.c_step = width;
      g.taps = 1, g.k = s_.c_in, g.vectors = width / table_->lanes;
      table_->gemm_pixels(g);
    }
    for (std::int64_t i = 0; i < t.images; ++i) {
      const Finish put = finish.at((t.image + i) * s_.out_image()).channels(c);
      for (std::int64_t row = 0; row < t.rows; ++row) {
        table_->winograd_output(products + (i * t.rows + row) * tiles_w_ * width, out_step,
                                tiles_w_, width, put, s_.out_h, s_.out_w, 4 * (t.row + row));
      }
    }
  }
}

}  // namespace pyedge
