// The machine's rate of multiply-adds, for the benchmarks' floors.
#pragma once

namespace pyedge {

// GFLOP/s (two a multiply-add) of all threads together on data in the first-level cache, the best
// of several rounds that together take about `seconds`.
double fma_rate(double seconds);

}  // namespace pyedge
