// The kernels of half precision: convolutions whose inputs and weights are rounded to 16 bits, with
// sums in float32. An instruction set's own, beside its table; some have none.
//
// "Floats" of what they read and write are pairs of 16-bit numbers (half.simd.hpp).
#pragma once

#include <cstdint>

#include "kernels/conv/gemm.hpp"
#include "kernels/conv/region.hpp"

namespace pyedge {

struct HalfKernels {
  const char* type;  // "bf16"
  // a and b in pairs, c in floats
  void (*gemm_pixels)(const PixelGemm& g);
  // two rows of floats, whole vectors -> pairs; second null: zeros
  void (*pair_rows)(const float* first, const float* second, std::int64_t count, float* to);
  // to: [rows, columns, (stride + 1) / 2 pairs]; all of a pixel's channels
  void (*copy_region)(const Region& region);
  // position: in pairs
  void (*winograd_input)(const float* from, std::int64_t row, std::int64_t stride,
                         std::int64_t tiles, float* to, std::int64_t position);
};

}  // namespace pyedge
