// Splitting second moments over threads: by columns, so that each sum is one thread's.
#include "kernels/sums/second_moments.hpp"

#include <algorithm>
#include <vector>

#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// At a time: a panel of 24 columns then takes 48 KB, and turning a tile's sums into whole numbers a
// twentieth of the time that they took.
constexpr std::int64_t rows_at_once = 256;
// Panels of rows that an item takes: half of a second-level cache of 1 MB.
constexpr std::int64_t panels_per_item = 8;

struct Item {
  std::int64_t a, b;  // the first panel of rows, and the panel of columns
};

}  // namespace

void add_second_moments(const std::int32_t* values, std::int64_t n, std::int64_t f,
                        std::int64_t* moments) {
  if (n == 0 || f == 0) return;
  const KernelTable& table = kernel_table();
  const std::int64_t columns = table.moment_columns, panels = (f + columns - 1) / columns;
  std::vector<Item> items;
  for (std::int64_t b = panels - 1; b >= 0; --b) {
    for (std::int64_t a = 0; a <= b; a += panels_per_item) items.push_back({a, b});
  }
  const std::int64_t most = std::min(n, rows_at_once), panel_size = most * columns;
  constexpr std::int64_t line = 8;  // float64
  std::vector<double> memory(static_cast<std::size_t>(panels * panel_size + line));
  double* packed = memory.data();
  while (reinterpret_cast<std::uintptr_t>(packed) % (line * sizeof(double)) != 0) ++packed;
  for (std::int64_t first = 0; first < n; first += rows_at_once) {
    const std::int64_t rows = std::min(rows_at_once, n - first);
    parallel_for(panels, [&](std::int64_t panel) {
      const std::int64_t column = panel * columns;
      table.pack_moments(values + first * f + column, rows, f, std::min(columns, f - column),
                         packed + panel * panel_size);
    });
    parallel_for(static_cast<std::int64_t>(items.size()), [&](std::int64_t index) {
      const Item& item = items[static_cast<std::size_t>(index)];
      const std::int64_t count = std::min(panels_per_item, item.b + 1 - item.a);
      table.add_moments({packed + item.a * panel_size, packed + item.b * panel_size, rows,
                         panel_size, item.a, count, item.b, f, moments});
    });
  }
}

}  // namespace pyedge
