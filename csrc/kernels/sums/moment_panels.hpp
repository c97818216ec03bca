// What one call of the second moments' inner loop works on.
#pragma once

#include <cstdint>

namespace pyedge {

// Panels of moment_columns columns in float64, each [rows, moment_columns], columns beyond f zero;
// they begin on cache lines. Those from first_a on, one after the other, against one panel b that
// is none of those before them: upper triangle.
struct MomentPanels {
  const double* a;
  const double* b;
  std::int64_t rows;
  std::int64_t panel;                       // float64s from one panel of a to the next
  std::int64_t first_a, panels_a, first_b;  // counted in panels
  std::int64_t f;
  std::int64_t* moments;  // the packed triangle
};

}  // namespace pyedge
