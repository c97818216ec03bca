// The kernels of 8-bit inference: convolutions whose inputs and weights are rounded to whole
// numbers of 8 bits, with exact sums in int32. An instruction set's own, beside its table; some
// have none.
//
// "Floats" of a and b are quads of neighbouring input channels (int8.simd.hpp).
#pragma once

#include <cstdint>

#include "kernels/conv/gemm.hpp"
#include "kernels/conv/region.hpp"

namespace pyedge {

// How a map becomes 8 bits: x is taken as scale * (q - zero_point), q from 0 to 255.
struct InputScale {
  float scale = 0.0f;
  std::int32_t zero_point = 0;
};

struct Int8Kernels {
  const char* type;   // the instructions
  std::int32_t less;  // inputs are stored as q - less, that is signed or unsigned
  void (*gemm_pixels)(const PixelGemm& g);
  // to: [rows, columns, (stride + 3) / 4 quads]; all of a pixel's channels
  void (*copy_region)(const Region& region, const InputScale& input);
  // 36 positions of one Winograd patch, `position` floats apart, each divided by its own scale:
  // rows of quads, `to_position` apart, with the scale behind the first k of them
  void (*quantize_patch)(const float* from, std::int64_t position, std::int64_t channels, float* to,
                         std::int64_t to_position, std::int64_t k);
};

// A convolution in 8 bits; no kernels: in another precision.
struct Int8Forward {
  const Int8Kernels* kernels = nullptr;
  InputScale input;
};

}  // namespace pyedge
