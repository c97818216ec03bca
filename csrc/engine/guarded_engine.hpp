// An engine that several threads may hold: it serves one call at a time and refuses a second.
//
// Refuses and does not wait: who waits in C++ cannot be interrupted from a keyboard, and in the
// child of a fork would wait for ever for a thread that is not there. Those who want to wait hold a
// lock of their own (pyedge/edge/turns.py).
#pragma once

#include <atomic>
#include <stdexcept>
#include <string>
#include <utility>

#include "engine/engine.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

class GuardedEngine {
 public:
  explicit GuardedEngine(Graph graph) : engine_(std::move(graph)) {}

  // What never changes: graph, dims, shapes of arrays, number of classes. Any thread may read it at
  // any time, and nothing else.
  const Engine& fixed() const { return engine_; }

  // Returns body(engine), run with this engine's number of threads. Throws std::runtime_error, and
  // does nothing, where another call is running.
  template <typename Body>
  auto use(const char* what, const Body& body) {
    const Use mine(busy_, what);
    const ThreadsOfCall threads(threads_);
    return body(engine_);
  }

  // 0: as many as the process says. Throws std::invalid_argument for what is no number of threads.
  void set_threads(int count) {
    if (count < 0 || count > max_threads) {
      throw std::invalid_argument("set_threads: count: wanted a number from 0 to " +
                                  std::to_string(max_threads) + ", got " + std::to_string(count));
    }
    const Use mine(busy_, "set_threads");
    threads_ = count;
  }

 private:
  class Use {
   public:
    Use(std::atomic<bool>& busy, const char* what) : busy_(busy) {
      if (busy_.exchange(true, std::memory_order_acquire)) {
        throw std::runtime_error(
            std::string("Engine.") + what +
            ": the engine is in the middle of a call from another thread; it serves one call at a "
            "time (and none any more in the child of a fork that came in the middle of one)");
      }
    }
    ~Use() { busy_.store(false, std::memory_order_release); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::atomic<bool>& busy_;
  };

  Engine engine_;
  std::atomic<bool> busy_{false};
  int threads_ = 0;
};

}  // namespace pyedge
