// Holds threads up in the middle of their work, as a hot core or a busy one would. No hook in the
// pool is needed: a signal interrupts a thread wherever it is, and its handler sleeps.
#pragma once

#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace check {

class HoldUp {
 public:
  HoldUp() {
    struct sigaction action = {};
    action.sa_handler = [](int) {
      const timespec pause{0, 3'000'000};
      nanosleep(&pause, nullptr);
    };
    action.sa_flags = SA_RESTART;
    // left in place for good: a signal may still be on its way to a thread that does not run
    sigaction(SIGUSR1, &action, nullptr);
    holder_ = std::thread([this] { hold_up(); });
  }
  ~HoldUp() {
    stop_ = true;
    holder_.join();
  }
  HoldUp(const HoldUp&) = delete;
  HoldUp& operator=(const HoldUp&) = delete;

  int times() const { return times_; }

 private:
  // One thread at a time, drawn at random among all but this one; the rest go on working.
  void hold_up() {
    const pid_t self = static_cast<pid_t>(syscall(SYS_gettid));
    std::mt19937 random(0);
    while (!stop_) {
      std::vector<pid_t> threads;
      for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) {
        const pid_t thread = std::stoi(entry.path().filename().string());
        if (thread != self) threads.push_back(thread);
      }
      const pid_t thread = threads[random() % threads.size()];
      if (syscall(SYS_tgkill, getpid(), thread, SIGUSR1) == 0) ++times_;
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    }
  }

  std::atomic<bool> stop_{false};
  std::atomic<int> times_{0};
  std::thread holder_;
};

}  // namespace check
#endif
