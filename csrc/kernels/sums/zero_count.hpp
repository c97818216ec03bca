// Zeros of each filter's activation map (paper Sec. 3, Eq. 2), counted in one pass over memory.
#pragma once

#include <cstdint>

#include "kernels/match/maps.hpp"

namespace pyedge {

// x [n, c, hw] -> counts [n, c]: elements that are zero, of either sign. NaN is not zero.
void zero_count(const Shape& shape, const float* x, std::int32_t* counts);

// Counts scale[c] * x + shift[c] <= 0 (two roundings), what a ReLU after that affine makes zero.
void zero_count_affine(const Shape& shape, const float* x, const float* scale, const float* shift,
                       std::int32_t* counts);

}  // namespace pyedge
