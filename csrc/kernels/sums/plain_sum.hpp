// The floor under every other kernel: reading memory once. bench/kernels.py measures the read
// bandwidth with it.
#pragma once

#include <cstdint>

namespace pyedge {

// x [count] -> the sum: float32 within 64 K floats, float64 over these. The one kernel whose last
// bits may depend on the threads: it is for the clock, not for results.
double plain_sum(const float* x, std::int64_t count);

}  // namespace pyedge
