// From how long everything lives to where it lies in the arena.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "engine/arena.hpp"
#include "engine/plan.hpp"

namespace pyedge {

// What a plan needs memory for, and when, in steps of the forward and then the backward pass.
struct Lives {
  std::vector<Life> tensors, back,
      gradients;                         // by tensor; back: brought back for the backward pass
  std::vector<Life> norm_gradients;      // by norm
  std::vector<Life> scratch;             // by step of the forward, then of the backward pass
  std::vector<bool> compact;             // tensors that wait in 16 bits
  std::vector<std::int64_t> mask_bytes;  // an image, of tensors whose mask waits; else 0
  std::vector<int> alias;                // whose gradient a tensor's is, or its own index
  std::vector<std::pair<int, int>> same_memory;  // a sum, and the residual that it is written over
};

// Sets the plan's offsets, for a micro-batch out of `all` images.
void place(const Program& program, Lives lives, std::int64_t all, Plan& plan);

}  // namespace pyedge
