#include "kernels/conv/channel_panels.hpp"

#include <algorithm>
#include <limits>

namespace pyedge {

ChannelPanels::ChannelPanels(const ConvShape& shape, const KernelTable& table,
                             const HalfKernels* half, const Int8Kernels* int8)
    : table_(&table),
      half_(half),
      int8_(int8),
      channels_(shape.c_in),
      in_one_(half != nullptr   ? 2
              : int8 != nullptr ? 4
                                : 1),
      c_in_((shape.c_in + in_one_ - 1) / in_one_),
      c_out_(shape.c_out),
      groups_(shape.groups),
      in_stride_((shape.in_stride + in_one_ - 1) / in_one_),
      stride_(shape.out_stride) {
  const std::int64_t lanes = table.lanes, vectors = stride_ / lanes;
  // The cut with the least work: wide panels read an input once for more outputs, narrow ones
  // multiply fewer zeros. In multiplications of vectors; a panel's inputs cost about as much as a
  // quarter of one more.
  constexpr double inputs = 0.25;
  std::vector<double> best{0.0};
  std::vector<std::int64_t> last{0};
  for (std::int64_t end = 1; end <= vectors; ++end) {
    best.push_back(std::numeric_limits<double>::infinity());
    last.push_back(1);
    for (std::int64_t wide = 1; wide <= std::min<std::int64_t>(table.tile_vectors, end); ++wide) {
      const ChannelPanel panel = panel_of((end - wide) * lanes, end * lanes);
      const double cost = best[static_cast<std::size_t>(end - wide)] +
                          static_cast<double>(panel.k) * (static_cast<double>(wide) + inputs);
      if (cost < best.back()) best.back() = cost, last.back() = wide;
    }
  }
  for (std::int64_t end = vectors; end > 0;) {
    const std::int64_t wide = last[static_cast<std::size_t>(end)];
    all_.push_back(panel_of((end - wide) * lanes, end * lanes));
    end -= wide;
  }
  std::reverse(all_.begin(), all_.end());
  for (ChannelPanel& panel : all_) {
    panel.at = floats_;
    floats_ += panel.k * panel.width;
    largest_ = std::max(largest_, panel.k * panel.width);
  }
}

ChannelPanel ChannelPanels::panel_of(std::int64_t first, std::int64_t end) const {
  const std::int64_t in_group = c_in_ / groups_, out_group = c_out_ / groups_;
  const std::int64_t from = first / out_group * in_group;
  const std::int64_t to = ((std::min(end, c_out_) - 1) / out_group + 1) * in_group;
  return {first, end - first, from, to - from, 0};
}

std::vector<PanelBlock> ChannelPanels::blocks(std::int64_t channels) const {
  std::vector<PanelBlock> found;
  std::int64_t count = 0;
  const std::int64_t lanes = table_->lanes;
  for (std::size_t begin = 0, end; begin < all_.size(); begin = end) {
    const std::int64_t first = all_[begin].first;
    for (end = begin + 1; end < all_.size(); ++end) {
      if (all_[end].first + all_[end].width - first > channels) break;
    }
    const ChannelPanel& last = all_[end - 1];
    const std::int64_t from = all_[begin].from / lanes * lanes;
    count = std::max(count, (last.from + last.k - from + lanes - 1) / lanes * lanes);
    found.push_back({first, last.first + last.width - first, from, 0, begin, end});
  }
  // an input without padding is seen whole
  if (in_stride_ % lanes != 0 || found.size() == 1) count = in_stride_;
  for (PanelBlock& block : found) {
    block.count = count;
    block.from = std::min(block.from, in_stride_ - count);
  }
  return found;
}

template <typename Body>
void ChannelPanels::each_row(const ChannelPanel& panel, const Body& body) const {
  const std::int64_t in_group = c_in_ / groups_, out_group = c_out_ / groups_;
  const std::int64_t end = std::min(panel.first + panel.width, c_out_);
  for (std::int64_t i = panel.from; i < panel.from + panel.k; ++i) {
    const std::int64_t group = i / in_group;
    const std::int64_t begin = std::max(panel.first, group * out_group);
    const std::int64_t count = std::min(end, (group + 1) * out_group) - begin;
    body((i - panel.from) * panel.width + begin - panel.first, i % in_group * stride_ + begin,
         count);
  }
}

void ChannelPanels::expand(const ChannelPanel& panel, const float* weights, float* to) const {
  if (half_ != nullptr) return pair_up(panel, weights + panel.first, stride_, to);
  std::fill_n(to, panel.k * panel.width, 0.0f);
  each_row(panel, [&](std::int64_t at, std::int64_t weight, std::int64_t count) {
    std::copy_n(weights + weight, count, to + at);
  });
}

void ChannelPanels::pair_up(const ChannelPanel& panel, const float* weights, std::int64_t step,
                            float* to) const {
  for (std::int64_t i = 0; i < panel.k; ++i, to += panel.width) {
    const float* first = weights + 2 * i * step;
    half_->pair_rows(first, 2 * i + 1 < channels_ ? first + step : nullptr, panel.width, to);
  }
}

void ChannelPanels::add(const ChannelPanel& panel, const float* products, float* weights) const {
  each_row(panel, [&](std::int64_t at, std::int64_t weight, std::int64_t count) {
    for (std::int64_t c = 0; c < count; ++c) weights[weight + c] += products[at + c];
  });
}

void ChannelPanels::multiply(const PixelGemm& g, const PanelBlock& block,
                             std::int64_t first) const {
  for (std::size_t p = block.begin; p < block.end; ++p) {
    const ChannelPanel& panel = all_[p];
    PixelGemm part = g;
    part.a += panel.from - block.from;
    part.b += g.taps * panel.at + (int8_ != nullptr ? 2 * panel.first : 0);
    part.c += panel.first - first;
    part.k = panel.k;
    part.vectors = panel.width / table_->lanes;
    const auto multiply = half_ != nullptr   ? half_->gemm_pixels
                          : int8_ != nullptr ? int8_->gemm_pixels
                                             : table_->gemm_pixels;
    multiply(part);
  }
}

}  // namespace pyedge
