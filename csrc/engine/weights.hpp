// A step's weights, and copies of them as the kernels read them.
#pragma once

#include <cstdint>

#include "engine/buffer.hpp"
#include "kernels/conv/conv2d.hpp"

namespace pyedge {

struct Weights {
  int weight = -1, bias = -1;  // parameters
  // of convolutions; each of a version of the weight
  Buffer forward, backward;
  std::uint64_t forward_version = 0, backward_version = 0;
  Numbers forward_numbers = Numbers::float32, backward_numbers = Numbers::float32;
};

}  // namespace pyedge
