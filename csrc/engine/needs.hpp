// What the program and the wishes say about tensors, whenever they are made: which gradients are
// wanted, who reads what, and in which form values may wait for the backward pass.
#pragma once

#include <vector>

#include "engine/program.hpp"
#include "engine/steps/operator.hpp"
#include "kernels/dispatch/half_kernels.hpp"
#include "kernels/dispatch/int8_kernels.hpp"

namespace pyedge {

// What decides about the backward pass, beside the program.
struct Wishes {
  bool training = false;
  std::vector<bool> step_learns;  // a convolution's weight or bias is trainable
  std::vector<bool> norm_learns;  // a norm's weight or bias is trainable
  bool batch_statistics = false;
  // of convolutions; null: float32
  const HalfKernels* half_forward = nullptr;
  const HalfKernels* half_gradient = nullptr;  // of their inputs
  std::vector<Int8Forward> int8_forward;       // by step, or empty
  bool apart = false;                          // no chains: every step's result is a map
};

// Outlived by what it is made of.
class Needs {
 public:
  Needs(const Graph& graph, const Program& program, const Wishes& wishes);

  // A tensor's gradient is wanted if something learns before it or on it.
  bool wanted(int tensor) const { return wanted_[at(tensor)]; }
  bool wants(const View& view) const;
  // By norm: its backward is a step of its own.
  const std::vector<bool>& live() const { return live_; }
  bool overwritable(int tensor) const;
  // The step that makes the tensor anew in the backward pass, or -1 if its values had better be
  // kept.
  int repeatable(int tensor) const { return repeated_[at(tensor)]; }
  bool compactable(int tensor, View& mask) const;
  // The view whose clamps are all that the backward pass wants to know of the tensor's values;
  // tensor -1: it wants more, or nothing.
  const View& masked(int tensor) const { return masked_[at(tensor)]; }
  // Views of it, taps, norms, and the program's output.
  int readers(int tensor) const;
  int adder(int tensor) const;
  // The step that reads the tensor as its input, if nobody else does and the backward pass asks for
  // no more of it than a mask; else -1.
  int passing_reader(int tensor) const;

 private:
  StepOf of(int step) const { return {graph_, program_, program_.steps[at(step)]}; }
  bool reads_values(int step) const {
    return program_.steps[at(step)].op->reads_values(wishes_.step_learns[at(step)]);
  }

  bool values_are_read(int tensor) const;
  bool widens(int step) const;
  void choose_masked();
  void choose_repeated();

  const Graph& graph_;
  const Program& program_;
  const Wishes& wishes_;
  std::vector<bool> wanted_, live_;
  std::vector<View> masked_;   // by tensor
  std::vector<int> repeated_;  // by tensor
};

}  // namespace pyedge
