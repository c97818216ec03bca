// Taking the GIL back. This file is compiled without unwind tables (CMakeLists.txt), on purpose.
//
// As a process ends, Python lets a daemon thread that asks for the GIL go by pthread_exit. On glibc
// that unwinds the thread's stack by libgcc, through our frames: their destructors would want the
// GIL again, and in a library that has an unwinder of its own linked in (zig's) the two do not know
// each other's contexts, and crash. A frame without tables is where unwinding ends: the thread is
// gone from there, and what it had on its stack goes with the process.
#include "python/without_gil.hpp"

void WithoutGil::take_back(PyThreadState* state) noexcept {
  PyEval_RestoreThread(state);
  asm volatile("");  // the call above must not become a jump, which leaves no frame
}
