// How long each piece of work took, where somebody asks.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

namespace pyedge {

struct OperationTime {
  std::string name, phase;
  double ms;
};

class Profile {
 public:
  void set(bool on) { on_ = on; }
  std::vector<OperationTime> take() { return std::exchange(times_, {}); }

  template <typename Body>
  void timed(const std::string& name, const char* phase, const Body& body) {
    if (!on_) return body();
    const auto start = std::chrono::steady_clock::now();
    body();
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    times_.push_back({name, phase, spent.count()});
  }

 private:
  bool on_ = false;
  std::vector<OperationTime> times_;
};

}  // namespace pyedge
