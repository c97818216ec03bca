// What an engine holds between passes, whatever the batch: the program, and all that it computes
// with.
#pragma once

#include <vector>

#include "engine/norms.hpp"
#include "engine/parameters.hpp"
#include "engine/program.hpp"
#include "engine/steps/operator.hpp"
#include "engine/weights.hpp"
#include "kernels/dispatch/int8_kernels.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

struct Network {
  // Throws std::invalid_argument for a graph that does not fit together.
  explicit Network(Graph graph);
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  StepOf of(int step) const { return {graph, program, program.steps[at(step)]}; }
  const Tensor& tensor(int index) const { return program.tensors[at(index)]; }
  // Of a node, or of what the step is where it has none.
  std::string name_of(const Step& step) const {
    return step.node >= 0 ? graph.nodes[at(step.node)].name : step.op->name;
  }
  // What a step adds to each channel of its result, or null.
  const float* bias(int step) const {
    const int index = weights[at(step)].bias;
    return index >= 0 ? parameters[index].values.data() : nullptr;
  }
  void fold_norms();

  Graph graph;  // its arrays have shapes and no values: these lie in the engine's layout below
  const KernelTable& table;
  Program program;
  Parameters parameters;
  std::vector<NormState> norms;          // by norm
  std::vector<Weights> weights;          // by step
  std::vector<bool> trainable;           // by node
  std::vector<InputScale> input_scales;  // by node, 0: it has none
};

}  // namespace pyedge
