// Second moments of whole numbers, exact: sums of products that do not depend on the order of rows,
// the number of threads or the instruction set.
#pragma once

#include <cstdint>

namespace pyedge {

// Up to this |value| a product is at most 2^40, so that float64 holds a sum of 2^13 of them
// exactly. What a caller adds up must fit in 64 bits: 2^23 - 1 rows of the largest values do.
constexpr std::int64_t largest_moment_value = std::int64_t{1} << 20;

// moments[i, j] += sum over rows of values[row, i] * values[row, j], for values [n, f] whose
// |value| is at most largest_moment_value. moments [f (f + 1) / 2]: the upper triangle, row by row:
// (0, 0) .. (0, f - 1), (1, 1) .. Throws std::bad_alloc, with nothing changed: 256 rows are held as
// float64.
void add_second_moments(const std::int32_t* values, std::int64_t n, std::int64_t f,
                        std::int64_t* moments);

}  // namespace pyedge
