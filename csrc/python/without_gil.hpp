// Computing while other threads run Python.
#pragma once

#include <Python.h>

// Lets go of the GIL for as long as it lives; nothing of Python's may be touched then.
//
// In place of pybind11's gil_scoped_release, with which a process may abort or crash as it ends:
// see without_gil.cpp. With this one, a daemon thread that was computing just ends.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() { take_back(state_); }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  static void take_back(PyThreadState* state) noexcept;
  PyThreadState* state_;
};
