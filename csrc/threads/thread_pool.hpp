// A small pool over std::thread: an OpenMP runtime does not cross-build, and collides with torch's.
#pragma once

#include <cstdint>

namespace pyedge {

// Threads that parallel_for uses, the calling one included: what ThreadsOfCall says on this thread,
// else the process's number. That is at first use: PYEDGE_NUM_THREADS, or
// the big ones of the CPUs that this process may run on (threads/cpu_clusters.hpp), but no more
// than a container's quota pays for (threads/cpu_quota.hpp). Throws
// std::invalid_argument if that variable is no number from 1 to 1024.
int num_threads();

// The process's number. Throws std::invalid_argument unless 1 <= count <= 1024.
void set_num_threads(int count);

constexpr int max_threads = 1024;

// Holds num_threads() on the calling thread for as long as it lives, at `count` or, with 0, at what
// it is. Scratch memory is laid out for so many workers, so that the number must not change while
// another thread calls set_num_threads; and no other thread sees it.
class ThreadsOfCall {
 public:
  explicit ThreadsOfCall(int count);
  ~ThreadsOfCall();
  ThreadsOfCall(const ThreadsOfCall&) = delete;
  ThreadsOfCall& operator=(const ThreadsOfCall&) = delete;

 private:
  int before_;
};

namespace detail {
using Task = void (*)(const void* context, std::int64_t item, int worker);
void run(std::int64_t items, Task task, const void* context);
}  // namespace detail

// Calls body(item) once for each item in [0, items), on up to num_threads() threads, and returns
// when all are done. Which thread takes which item is left open: a result must not depend on it.
// The first exception of a body is rethrown here; items not yet begun are dropped then. Called
// from a body, or while another thread is using the pool, it runs on the calling thread alone.
template <typename Body>
void parallel_for(std::int64_t items, const Body& body) {
  detail::run(
      items,
      [](const void* context, std::int64_t item, int) {
        (*static_cast<const Body*>(context))(item);
      },
      &body);
}

// The same with body(item, worker): no two bodies run at once with the same worker, a number from
// 0 to num_threads() - 1, so that each worker can have scratch memory of its own.
template <typename Body>
void parallel_for_workers(std::int64_t items, const Body& body) {
  detail::run(
      items,
      [](const void* context, std::int64_t item, int worker) {
        (*static_cast<const Body*>(context))(item, worker);
      },
      &body);
}

}  // namespace pyedge
