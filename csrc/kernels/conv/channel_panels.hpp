// A convolution's output channels in panels, and which input channels each of them sees: all, or
// those of its groups, which lie side by side in a pixel.
//
// So a grouped convolution is the same matrix product as a full one, panel by panel, from other
// places of the same map: nothing is moved. Where a panel reaches into several groups its weights
// have zeros between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/conv/conv_shape.hpp"
#include "kernels/dispatch/half_kernels.hpp"
#include "kernels/dispatch/int8_kernels.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

// Output channels [first, first + width), whole vectors, see input channels [from, from + k).
struct ChannelPanel {
  std::int64_t first, width, from, k;
  std::int64_t at;  // floats of a tap's packed weights before its own [k, width]
};

// Panels that are computed from one copy of the input channels, whole vectors, that they see.
struct PanelBlock {
  std::int64_t first, width, from, count;
  std::size_t begin, end;  // panels
};

class ChannelPanels {
 public:
  ChannelPanels() = default;
  // half, int8: input channels are pairs of 16 bits each, or quads of 8, and there are no groups.
  ChannelPanels(const ConvShape& shape, const KernelTable& table, const HalfKernels* half = nullptr,
                const Int8Kernels* int8 = nullptr);

  const std::vector<ChannelPanel>& all() const { return all_; }
  std::int64_t in_one() const { return in_one_; }  // input channels where a float lies in float32
  std::int64_t floats() const { return floats_; }  // of a tap's packed weights
  // Floats of all taps' packed weights; in 8 bits offsets and factors stand behind each panel's.
  std::int64_t packed_floats(std::int64_t taps) const {
    return taps * floats_ + (int8_ != nullptr ? 2 * stride_ : 0);
  }
  // Multiplications for a tap and an output pixel, those by zeros between groups too.
  std::int64_t products() const { return groups_ == 1 ? c_in_ * c_out_ : floats_; }
  std::int64_t largest() const { return largest_; }  // floats of one panel and tap
  // Of at most so many output channels, or one panel; all see equally many input channels.
  std::vector<PanelBlock> blocks(std::int64_t channels) const;
  // weights of one tap [c_in / groups, out_stride] -> [k, width]
  void expand(const ChannelPanel& panel, const float* weights, float* to) const;
  // The same in half precision, from rows `step` floats apart: [c_in, width] -> [k, width, 2]
  void pair_up(const ChannelPanel& panel, const float* weights, std::int64_t step, float* to) const;
  // products [k, width] -> added to those weights
  void add(const ChannelPanel& panel, const float* products, float* weights) const;
  // The products of a block: g's a begins at input channel `block.from`, its c at output channel
  // `first`, its b at the first panel of all; its k and vectors are left open.
  void multiply(const PixelGemm& g, const PanelBlock& block, std::int64_t first) const;
  // All of them, from and to whole pixels.
  void multiply(const PixelGemm& g) const {
    multiply(g, {0, stride_, 0, in_stride_, 0, all_.size()}, 0);
  }

 private:
  // body(place in the panel's [k, width], place in a tap's weights, how many) for the part of each
  // input channel's row that lies in its own group
  template <typename Body>
  void each_row(const ChannelPanel& panel, const Body& body) const;
  ChannelPanel panel_of(std::int64_t first, std::int64_t end) const;

  const KernelTable* table_ = nullptr;
  const HalfKernels* half_ = nullptr;
  const Int8Kernels* int8_ = nullptr;
  std::int64_t channels_ = 0;  // of the input; c_in_ are pairs or quads in 16 or 8 bits
  std::int64_t in_one_ = 1;
  std::int64_t c_in_ = 0, c_out_ = 0, groups_ = 1, in_stride_ = 0, stride_ = 0;
  std::vector<ChannelPanel> all_;
  std::int64_t floats_ = 0, largest_ = 0;
};

}  // namespace pyedge
