// Splitting plain_sum over threads.
#include "kernels/sums/plain_sum.hpp"

#include <algorithm>
#include <mutex>

#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

double plain_sum(const float* x, std::int64_t count) {
  constexpr std::int64_t piece = 1 << 16;
  const KernelTable& table = kernel_table();
  std::mutex mutex;
  double total = 0.0;
  parallel_for((count + piece - 1) / piece, [&](std::int64_t item) {
    const std::int64_t first = item * piece;
    const float sum = table.plain_sum(x + first, std::min(piece, count - first));
    const std::lock_guard<std::mutex> lock(mutex);
    total += sum;
  });
  return total;
}

}  // namespace pyedge
