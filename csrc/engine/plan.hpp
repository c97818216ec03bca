// What one batch size needs: how each convolution is computed, the order of the backward pass, and
// a place in one arena for everything that is alive at the same time.
//
// A batch runs in micro-batches, so that most of what a step makes exists for a few images only:
// forward for each of them, the losses of the whole batch, backward for each. What the backward
// pass reads of the forward pass's waits in between for all images: computed anew where that is
// cheap; a bit a value (mask_map.simd.hpp) where only a ReLU's mask is needed; in 16 bits a value
// (compact_map.simd.hpp, in kernels/layers like the other) where only J_b and the masks of
// ReLUs need it; as it is for the gradients of weights. Batch norm with the batch's statistics
// wants all images in one.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/arena.hpp"
#include "engine/needs.hpp"
#include "engine/program.hpp"
#include "kernels/conv/conv2d.hpp"

namespace pyedge {

// Where a gradient goes: to a tensor's, or to that behind a norm that learns or that uses the
// batch's statistics (whose own backward needs it whole). index -1: nobody wants it.
struct Target {
  int index = -1;
  bool norm = false;
  bool accumulate = false;
};

// The first three bring back values of the forward pass: the input, a step's result, a tensor.
enum class BackwardKind { images, repeat, restore, tap, step, norm };

struct BackwardStep {
  BackwardKind kind;
  int index;         // of a step, tensor, tap or norm
  Target target[2];  // of the step's inputs; a convolution's second is its residual
  bool weights = false;
  bool alias = false;   // the second target's gradient is the step's own, in place
  bool joined = false;  // goes through the images together with the step before it
  int time = 0;         // counted on from the forward pass's
  std::int64_t scratch_floats = 0, scratch_at = 0;
};

// The convolution with which a step of the forward pass goes through the images, if one does: a
// pool after the convolution that made its input, a pad before the one that adds it.
struct Host {
  int step = -1;
  bool before = false;
};

// Steps that run together band by band of an image, at the time of the last: a depthwise
// convolution with the pointwise one that makes its input, the one that reads its result, or both.
// What lies between them is never a map. -1: none.
struct Chain {
  int from = -1, depthwise = -1, to = -1;
  std::int64_t parts = 1;  // of an image, one for a thread
  int last() const { return to >= 0 ? to : depthwise; }
  bool has(int step) const { return step == from || step == depthwise || step == to; }
  // A step's result is one of those maps.
  bool hides(int step) const { return has(step) && step != last(); }
};

// Of one micro-batch.
struct Plan {
  std::int64_t n = 0;
  // by step; empty for others than convolutions
  std::vector<ConvForward> forward;
  std::vector<ConvInputGradient> input_gradient;
  std::vector<ConvWeightGradient> weight_gradient;
  std::vector<Host> host;     // by step
  std::vector<bool> streams;  // by step: its result goes past the caches
  std::vector<Chain> chains;
  std::vector<BackwardStep> backward;
  // floats from the arena's start; -1 where there is none
  std::vector<std::int64_t> tensor_at, gradient_at, norm_gradient_at;
  std::vector<std::int64_t> back_at;     // tensors that are brought back for the backward pass
  std::vector<std::int64_t> compact_at;  // and the 16-bit copies that some come from
  std::vector<std::int64_t> mask_at;     // bits of tensors whose mask alone is needed
  std::vector<View> masked;              // by which view
  // tensors and gradients that lie there for all images of the batch
  std::vector<bool> tensor_of_all, gradient_of_all;
  std::vector<std::int64_t> scratch_at;  // by step, of the forward pass
  std::int64_t floats = 0;
  std::int64_t shared_floats = 0;  // at its start: what waits for all images
  std::vector<Placed> placed;      // all else
  std::vector<bool> live;          // norms whose backward is a step of its own
  std::vector<bool> in_place;      // tensors whose gradient is written over their values
  std::vector<View> mask;  // of tensors with a 16-bit copy: the view that clamps, if one does

  // null: the step is in none
  const Chain* chain_of(int step) const;
};

// A batch of n: micro-batches of each.n images, and a last one of rest.n where that is not 0. Both
// plans lay what is there for all images out in the same way.
struct BatchPlan {
  std::int64_t n = 0, floats = 0;
  Plan each, rest;

  // body(plan, its first image) for one micro-batch after another
  template <typename Body>
  void for_each(const Body& body) const {
    std::int64_t first = 0;
    for (; n - first >= each.n && first < n; first += each.n) body(each, first);
    if (first < n) body(rest, first);
  }
};

// Floats that the 16-bit copy of an image takes: the values, and a step for each pixel.
std::int64_t compact_floats(const Tensor& tensor);
// Bytes that the mask of an image takes.
std::int64_t mask_bytes(const Tensor& tensor, const KernelTable& table);

// `micro_batch` images at a time, 0: as many as the second-level caches hold.
BatchPlan make_plan(const Graph& graph, const Program& program, const Wishes& wishes,
                    std::int64_t n, std::int64_t micro_batch, const KernelTable& table,
                    int workers);

}  // namespace pyedge
