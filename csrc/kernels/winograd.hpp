// Sizes that Winograd's F(4x4, 3x3) works in; the transforms are in winograd.simd.hpp.
#pragma once

namespace pyedge {

constexpr int winograd_tile = 4;        // output pixels a side
constexpr int winograd_patch = 6;       // input pixels a side
constexpr int winograd_positions = 36;  // matrix products

}  // namespace pyedge
