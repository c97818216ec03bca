// Small translations from the graph's terms to the kernels'.
#pragma once

#include "engine/losses.hpp"
#include "engine/program.hpp"
#include "kernels/conv/conv_shape.hpp"
#include "kernels/layers/layers.hpp"

namespace pyedge {

// Of n images.
inline ConvShape conv_shape(const Graph& graph, const Program& program, const Step& step,
                            std::int64_t n) {
  const Node& node = graph.nodes[at(step.node)];
  const Tensor& in = program.tensors[at(step.in[0].tensor)];
  const Tensor& out = program.tensors[at(step.out)];
  ConvShape s{n,    in.c, in.h, in.w, in.stride, out.c, out.h, out.w, out.stride,
              in.h, in.w, 1,    1,    0,         0,     1,     1};
  if (node.op == Op::conv2d) {
    s.kernel_h = node.kernel[0], s.kernel_w = node.kernel[1];
    s.stride_h = node.stride[0], s.stride_w = node.stride[1];
    s.padding_h = node.padding[0], s.padding_w = node.padding[1];
    s.dilation_h = node.dilation[0], s.dilation_w = node.dilation[1];
  }
  return s;
}

inline PoolWindow pool_window(const Node& node, const Tensor& out) {
  return {node.kernel[0],  node.kernel[1],  node.stride[0], node.stride[1],
          node.padding[0], node.padding[1], out.h,          out.w};
}

// Every pixel lies in exactly one window.
inline bool tiles(const PoolWindow& p, const Tensor& in) {
  return p.kernel_h == p.stride_h && p.kernel_w == p.stride_w && p.padding_h == 0 &&
         p.padding_w == 0 && p.out_h * p.kernel_h == in.h && p.out_w * p.kernel_w == in.w;
}

// One image's map out of a pack's.
inline TeacherMap teacher_map(const TeacherMaps& maps, std::int64_t row, std::int64_t size) {
  const std::int64_t element = maps.type == MapType::float32   ? 4
                               : maps.type == MapType::float16 ? 2
                                                               : 1;
  return {static_cast<const char*>(maps.data) + row * size * element, maps.type,
          maps.scales != nullptr ? maps.scales[row] : 1.0f};
}

}  // namespace pyedge
