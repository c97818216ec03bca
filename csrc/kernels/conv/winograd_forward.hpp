// A 3x3 convolution by Winograd's transforms: 36 products of tiles with channels.
//
// An item is some images, or a band of one where there are few; it takes a few tile rows at a time,
// whose patches stay in the second-level cache of the thread that runs it. Where one panel of the
// 36 weight matrices and its products fit beside them, it goes panel by panel, so that products are
// gone before they would leave that cache; else position by position. Of a grouped convolution it
// takes some panels at a time, and transforms the input channels that these see.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv/channel_panels.hpp"
#include "kernels/conv/conv_shape.hpp"
#include "kernels/conv/per_image.hpp"
#include "kernels/conv/region.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

class WinogradForward {
 public:
  WinogradForward() = default;
  // in_stride: whole vectors. half, int8: what the panels are of; the transforms stay in float32.
  WinogradForward(const ConvShape& shape, const ChannelPanels& panels, const KernelTable& table,
                  int workers, const HalfKernels* half = nullptr,
                  const Int8Kernels* int8 = nullptr);
  std::int64_t packed_floats() const;
  std::int64_t pack_scratch_floats() const;
  std::int64_t scratch_floats() const { return scratch_floats_; }
  void pack(const float* weights, float* packed, float* scratch) const;
  // See ConvForward.
  void run(const float* input, const Lens& lens, const float* packed, const Finish& finish,
           float* scratch, const PerImage& per_image) const;

 private:
  struct Tiles {  // tile rows of one image, or all of those of several
    std::int64_t image, images, row, rows;
  };
  // Channels of the region that a block's patches, floats, pairs or quads, come from.
  std::int64_t channels(const PanelBlock& block) const { return block.count * in_one_; }
  // Floats from one tile's patch to the next; in 8 bits a factor may lie behind it.
  std::int64_t patch(const PanelBlock& block) const {
    return block.count + (int8_ != nullptr ? 1 : 0);
  }
  void pack_low(const float* weights, float* packed, float* scratch) const;
  std::int64_t choose_columns() const;
  void deal_out(std::int64_t tiles, int workers);
  void transform(const float* input, const Lens& lens, Tiles tiles, const PanelBlock& block,
                 float* region, float* patches, std::int64_t step) const;
  void quantize_tiles(const float* region, std::int64_t line, const PanelBlock& block,
                      float* floats, float* patches, std::int64_t step) const;
  void run_tiles(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                 Tiles tiles, float* own) const;

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  const HalfKernels* half_ = nullptr;
  const Int8Kernels* int8_ = nullptr;
  std::int64_t in_one_ = 1;  // input channels in 32 bits
  ChannelPanels panels_;
  std::vector<PanelBlock> blocks_;
  std::int64_t tiles_h_ = 0, tiles_w_ = 0;
  std::int64_t band_ = 0, chunk_images_ = 1;  // tile rows, and images, at a time
  std::int64_t item_images_ = 0;              // 0: an item is a band
  std::int64_t region_at_ = 0, region_floats_ = 0, worker_floats_ = 0, scratch_floats_ = 0;
};

}  // namespace pyedge
