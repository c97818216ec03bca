#include "engine/steps/depthwise_bands.hpp"

namespace pyedge {
namespace {

// Of bordered input: in the second cache with its output, of a small core too. But four rows of
// output at the least, which share what they see.
constexpr std::int64_t band_floats = 1 << 14, least_rows = 4;

std::int64_t reach(const Node& node, int axis) {
  return (node.kernel[axis] - 1) * node.dilation[axis] + 1;
}

}  // namespace

DepthwiseBands::DepthwiseBands(const Node& node, std::int64_t out_h, std::int64_t out_w,
                               const std::int64_t (&steps)[2], const std::int64_t (&padding)[2],
                               std::int64_t pixel_floats)
    : h(out_h),
      w(out_w),
      stride(steps[0]),
      top(padding[0]),
      left(padding[1]),
      reach_(reach(node, 0)) {
  in_row = ((w - 1) * steps[1] + reach(node, 1)) * pixel_floats;
  rows = std::min(std::max((band_floats / in_row - reach_) / stride + 1, least_rows / stride), h);
  in_rows = (rows - 1) * stride + reach_;
}

DepthwiseBands DepthwiseBands::forward(const StepOf& of) {
  const Node& node = of.node();
  return {node,
          of.out().h,
          of.out().w,
          {node.stride[0], node.stride[1]},
          {node.padding[0], node.padding[1]},
          of.in().stride};
}

DepthwiseBands DepthwiseBands::backward(const StepOf& of) {
  const Node& node = of.node();
  return {node,
          of.in().h,
          of.in().w,
          {1, 1},
          {reach(node, 0) - 1 - node.padding[0], reach(node, 1) - 1 - node.padding[1]},
          of.in().stride};
}

DepthwiseWindow depthwise_window(const StepOf& of, const float* weights) {
  const Node& node = of.node();
  return {weights,        of.in().stride,   node.kernel[0],   node.kernel[1], node.stride[0],
          node.stride[1], node.dilation[0], node.dilation[1], of.in().stride};
}

}  // namespace pyedge
