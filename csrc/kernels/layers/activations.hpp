// Activations that are no view: each writes a map of its own. The loops are in
// activations.simd.hpp.
#pragma once

#include <cstdint>

#include "kernels/layers/layers.hpp"

namespace pyedge {

enum class Curve {
  leaky,         // x, or slope x below 0; slopes of the channels
  sigmoid,       // 1 / (1 + e^-x)
  hard_sigmoid,  // (x + 3) / 6 in [0, 1]
  silu,          // x sigmoid(x)
  hard_swish,    // x hard_sigmoid(x)
  gelu,          // x times the normal distribution's share below x
  gelu_tanh,     // x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
  mish,          // x tanh(log(1 + e^x))
  elu            // scale x, or scale alpha (e^(input_scale x) - 1) below 0
};

// Numbers of ELU and its like: SELU has a scale, CELU an input_scale. input_scale is above 0.
struct Elu {
  float alpha = 1.0f, scale = 1.0f, input_scale = 1.0f;
};

// channels: of the map; the lanes behind them stay zero, also where the curve is not at 0.
struct Activation {
  Curve curve;
  std::int64_t channels;
  const float* slopes = nullptr;  // [stride], of leaky
  Elu elu = {};
};

}  // namespace pyedge
