// A grouped convolution's weight gradient, direct. An item is a panel of output channels: it goes
// through the batch in order, band by band, with copies of the channels that it needs in the
// first-level cache: the same bits for any number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv/channel_panels.hpp"
#include "kernels/conv/conv_shape.hpp"
#include "kernels/conv/region.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

class GroupWeightGradient {
 public:
  GroupWeightGradient() = default;
  GroupWeightGradient(const ConvShape& shape, const KernelTable& table, int workers);
  std::int64_t scratch_floats() const { return scratch_floats_; }
  // See ConvWeightGradient.
  void run(const float* input, const Lens& lens, const float* gradient, float* weights,
           float* scratch) const;

 private:
  // Adds the products of a band of an image, copied already, to sums [tap, k, width].
  void add_band(const ChannelPanel& panel, const PanelBlock& block, const float* region,
                const float* slopes, std::int64_t rows, bool begun, float* sums) const;

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  ChannelPanels panels_;
  std::vector<PanelBlock> blocks_;  // of one panel each
  std::int64_t band_ = 1, columns_ = 0;
  std::int64_t slopes_at_ = 0, sums_at_ = 0, worker_floats_ = 0, scratch_floats_ = 0;
};

}  // namespace pyedge
