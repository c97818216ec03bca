// Second moments: a tile of sums of products in float64 that stays in registers while it goes down
// the rows. Whole numbers, all of them exact (second_moments.hpp): that sums are fused, or taken in
// another order, changes nothing.
//
// int16 limbs with pmaddwd were the other way: two of its instructions and two additions do what
// two float64 multiply-adds of the same width do, and AVX-512 has no fused one without VNNI.
#pragma once

#include <cstdint>

#include "kernels/sums/moment_panels.hpp"

namespace {

constexpr int moment_columns = Vec::moment_vectors * Vec::wide_lanes;
static_assert(moment_columns % Vec::moment_rows == 0, "a tile's rows lie in one panel");

// values [rows, f], the first `count` columns from `values` on -> panel [rows, moment_columns]
void pack_moments(const std::int32_t* values, std::int64_t rows, std::int64_t f, std::int64_t count,
                  double* panel) {
  for (std::int64_t r = 0; r < rows; ++r, values += f, panel += moment_columns) {
    if (count == moment_columns) {
      for (int c = 0; c < moment_columns; ++c) panel[c] = values[c];
    } else {
      for (int c = 0; c < moment_columns; ++c) panel[c] = c < count ? values[c] : 0.0;
    }
  }
}

// sums [moment_rows, moment_columns] = a^T b
inline void moment_tile(const double* a, const double* b, std::int64_t rows, double* sums) {
  constexpr int tall = Vec::moment_rows, wide = Vec::moment_vectors;
  Vec::Wide sum[tall][wide];
#pragma GCC unroll 16
  for (int m = 0; m < tall; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < wide; ++v) sum[m][v] = Vec::no_sum();
  }
  for (; rows > 0; --rows, a += moment_columns, b += moment_columns) {
    Vec::Wide w[wide];
#pragma GCC unroll 4
    for (int v = 0; v < wide; ++v) w[v] = Vec::load_wide(b + v * Vec::wide_lanes);
#pragma GCC unroll 16
    for (int m = 0; m < tall; ++m) {
      const Vec::Wide x = Vec::splat(a[m]);
#pragma GCC unroll 4
      for (int v = 0; v < wide; ++v) sum[m][v] = Vec::fma(x, w[v], sum[m][v]);
    }
  }
#pragma GCC unroll 16
  for (int m = 0; m < tall; ++m) {
#pragma GCC unroll 4
    for (int v = 0; v < wide; ++v) {
      Vec::store_wide(sums + m * moment_columns + v * Vec::wide_lanes, sum[m][v]);
    }
  }
}

// to += sums, whole numbers; unsigned, since an overflow is the caller's to avoid and no error here
inline void add_whole(std::int64_t* to, const double* sums, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] =
        static_cast<std::int64_t>(static_cast<std::uint64_t>(to[i]) +
                                  static_cast<std::uint64_t>(static_cast<std::int64_t>(sums[i])));
  }
}

void add_moments(const pyedge::MomentPanels& p) {
  constexpr int tall = Vec::moment_rows;
  alignas(64) double sums[tall * moment_columns];
  const std::int64_t column = p.first_b * moment_columns;
  const std::int64_t end = p.f - column < moment_columns ? p.f - column : moment_columns;
  for (std::int64_t panel = 0; panel < p.panels_a; ++panel) {
    const double* a = p.a + panel * p.panel;
    const std::int64_t first = (p.first_a + panel) * moment_columns;
    for (int m = 0; m < moment_columns && first + m < p.f; m += tall) {
      moment_tile(a + m, p.b, p.rows, sums);
      for (int i = 0; i < tall && first + m + i < p.f; ++i) {
        const std::int64_t row = first + m + i;
        // on the diagonal from the row's own column on
        const std::int64_t begin = row > column ? row - column : 0;
        const std::int64_t row_at = row * p.f - row * (row - 1) / 2 - row;
        add_whole(p.moments + row_at + column + begin, sums + i * moment_columns + begin,
                  end - begin);
      }
    }
  }
}

}  // namespace
