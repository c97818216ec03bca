// Computing while other threads run Python.
#pragma once

#include <pybind11/pybind11.h>

// Lets go of the GIL for as long as it lives; nothing of Python's may be touched then.
//
// In place of pybind11's gil_scoped_release, with which a process may abort as it ends: a daemon
// thread that was computing asks for the GIL again, is told to exit, and what unwinds its stack may
// not leave a destructor. This one stays where it is until the process is gone, which is what
// Python 3.14 makes of such threads.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() noexcept(false) { take_back(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  static void take_back(PyThreadState* state);
  PyThreadState* state_;
};
