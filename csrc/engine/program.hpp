// The graph as the engine runs it: tensors, views of them, and the few steps that make tensors.
//
// Batch norm, ReLU and flatten are no steps. They are a view: whoever reads a tensor applies them
// on the way in (Lens), so that their results never exist in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "engine/graph.hpp"
#include "kernels/layers/layers.hpp"

namespace pyedge {

struct KernelTable;

// The indices of nodes, tensors and steps are int, -1 for none; the containers' are not.
inline std::size_t at(int index) {
  return static_cast<std::size_t>(index);
}

// A map n h w c in memory.
struct Tensor {
  std::int64_t c, h, w, stride;  // stride: floats a pixel
  int producer;                  // step, or -1 for the input
  std::int64_t image() const { return h * w * stride; }
};

enum class Clamp { none, relu, relu6 };

struct View {
  int tensor = -1;
  int norm = -1;  // index of a Norm, or none
  Clamp clamp = Clamp::none;
  bool plain() const { return norm < 0 && clamp == Clamp::none; }
};

// A batch norm or channel affine on a tensor.
struct Norm {
  int node;
  int tensor;
  bool has_statistics;  // batch norm
};

struct Step {
  const Operator* op;
  int node;  // of the graph, or -1 for a copy
  std::vector<View> in;
  View residual;  // of a convolution: added to its result, or tensor -1
  int out;
  std::vector<LaneStep> lane_steps;  // of a channel pad: where rising positions begin
};

struct Program {
  std::vector<Tensor> tensors;  // 0 is the input
  std::vector<Norm> norms;
  std::vector<Step> steps;
  View output;  // plain
  std::vector<View> taps;
};

// Lowers a checked graph. Channels are padded to whole vectors; the input's are not where only
// convolutions by matrix product read it.
Program lower(const Graph& graph, const KernelTable& table);

}  // namespace pyedge
