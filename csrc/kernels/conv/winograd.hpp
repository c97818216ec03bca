// Sizes that Winograd's F(4x4, 3x3) works in; the transforms are in winograd.simd.hpp.
#pragma once

#include <cstdint>

namespace pyedge {

constexpr int winograd_tile = 4;        // output pixels a side
constexpr int winograd_patch = 6;       // input pixels a side
constexpr int winograd_positions = 36;  // matrix products

// Floats from one position's matrix to the next. A transform touches all 36 at once: were they
// multiples of 4 KB apart, as 64 tiles of 64 channels are, all would want the same few lines of the
// first-level cache. One line more keeps them apart.
inline std::int64_t winograd_step(std::int64_t tiles, std::int64_t stride) {
  return tiles * stride + 16;
}

}  // namespace pyedge
