// A 3x3 convolution's weight gradient by Winograd's transforms: 36 products of channels with
// channels, over tiles.
//
// Two ways. Where the 36 sums are small, an item takes some of the images and keeps sums of its
// own, so that patches, slopes and sums stay in the second-level cache of the thread that runs it;
// the items are as many as the shape says, never as the threads are. Else a chunk of images is
// transformed by all, and an item takes the products of one position. Either way the same bits for
// any number of threads.
#pragma once

#include <cstdint>

#include "kernels/conv/conv_shape.hpp"
#include "kernels/conv/region.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

class WinogradWeightGradient {
 public:
  WinogradWeightGradient() = default;
  // in_stride: whole vectors
  WinogradWeightGradient(const ConvShape& shape, const KernelTable& table, int workers);
  std::int64_t scratch_floats() const { return scratch_floats_; }
  // See ConvWeightGradient.
  void run(const float* input, const Lens& lens, const float* gradient, float* weights,
           float* scratch) const;

 private:
  struct Tiles {  // tile rows of one image, or all of those of several
    std::int64_t image, images, row, rows;
  };
  struct Channels {  // of the input or of the output
    std::int64_t first, width;
  };
  // Gradients are transformed where they lie.
  bool whole_tiles() const { return s_.out_h % 4 == 0 && s_.out_w % 4 == 0; }
  void plan_images(int workers);
  void plan_positions(int workers);
  void run_images(const float* input, const Lens& lens, const float* gradient, float* weights,
                  float* scratch) const;
  void run_positions(const float* input, const Lens& lens, const float* gradient, float* weights,
                     float* scratch) const;
  // sums [36, c_in, columns] of the images [first, end)
  void sum_up(const float* input, const Lens& lens, const float* gradient, std::int64_t first,
              std::int64_t end, Channels columns, float* sums, float* own) const;
  void transform_input(const float* input, const Lens& lens, Tiles tiles, Channels channels,
                       float* region, float* patches, std::int64_t step) const;
  void transform_gradient(const float* gradient, Tiles tiles, Channels channels, float* region,
                          float* slopes, std::int64_t step) const;
  void add_products(std::int64_t images, Channels block, float* weights, float* scratch) const;

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  std::int64_t tiles_h_ = 0, tiles_w_ = 0;
  std::int64_t columns_ = 0;                  // output channels an item that sums up images; else 0
  std::int64_t parts_ = 1;                    // shares of the images
  std::int64_t chunk_images_ = 1, band_ = 0;  // transformed at a time; tile rows of them
  std::int64_t block_ = 0;                    // input channels at a time, by positions
  // in the scratch memory, or in an item's own
  std::int64_t slopes_at_ = 0, sums_at_ = 0, regions_at_ = 0;
  std::int64_t item_floats_ = 0, worker_floats_ = 0, scratch_floats_ = 0;
};

}  // namespace pyedge
