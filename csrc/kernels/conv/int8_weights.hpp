// Weights in 8 bits, a scale for each output channel.
#pragma once

#include <cstdint>

#include "kernels/dispatch/int8_kernels.hpp"

namespace pyedge {

// Columns [taps, rows, width] of a larger matrix, floats apart.
struct WeightColumns {
  const float* weights;
  std::int64_t taps, tap_step, rows, row_step, width;
};

// Largest number of products in a sum that int32 holds, whatever they are of.
constexpr std::int64_t most_int8_products = 0x7fffffff / (255 * 127);

// Floats of what pack_int8 makes.
inline std::int64_t int8_floats(std::int64_t taps, std::int64_t rows, std::int64_t width) {
  return (taps * ((rows + 3) / 4) + 2) * width;
}

// Rounds each column, the largest of it to 127, into quads [taps, (rows + 3) / 4, width, 4], and
// behind them what makes floats of sums over inputs q - less: [width] int32 offsets to be added,
// [width] factors. Returns where they end.
float* pack_int8(const WeightColumns& columns, const InputScale& input, std::int32_t less,
                 float* packed);

}  // namespace pyedge
