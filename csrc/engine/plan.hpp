// What one batch size needs: how each convolution is computed, the order of the backward pass, and
// a place in one arena for everything that is alive at the same time.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/program.hpp"
#include "kernels/conv2d.hpp"

namespace pyedge {

// What decides about the backward pass, beside the program.
struct Wishes {
  bool training = false;
  std::vector<bool> step_learns;  // a convolution's weight or bias is trainable
  std::vector<bool> norm_learns;  // a norm's weight or bias is trainable
  bool batch_statistics = false;
};

// Where a gradient goes: to a tensor's, or to that behind a norm that learns or that uses the
// batch's statistics (whose own backward needs it whole). index -1: nobody wants it.
struct Target {
  int index = -1;
  bool norm = false;
  bool accumulate = false;
};

enum class BackwardKind { tap, step, norm };

struct BackwardStep {
  BackwardKind kind;
  int index;         // tap, step or norm
  Target target[2];  // of the step's inputs; a convolution's second is its residual
  bool weights = false;
  int again = -1;      // a step to run anew first: its result was not kept
  bool alias = false;  // the second target's gradient is the step's own, in place
};

struct Plan {
  std::int64_t n = 0;
  // by step; empty for others than convolutions
  std::vector<ConvForward> forward;
  std::vector<ConvInputGradient> input_gradient;
  std::vector<ConvWeightGradient> weight_gradient;
  std::vector<BackwardStep> backward;
  // floats from the arena's start; -1 where there is none
  std::vector<std::int64_t> tensor_at, gradient_at, norm_gradient_at;
  std::vector<std::int64_t> again_at;  // tensors that are computed a second time
  std::int64_t scratch_at = 0;
  std::int64_t floats = 0;
  std::vector<bool> live;      // norms whose backward is a step of its own
  std::vector<bool> in_place;  // tensors whose gradient is written over their values
};

ConvShape conv_shape(const Graph& graph, const Program& program, const Step& step, std::int64_t n);

Plan make_plan(const Graph& graph, const Program& program, const Wishes& wishes, std::int64_t n,
               const KernelTable& table, int workers);

}  // namespace pyedge
