// Taking the GIL back, or never going on.
#include "python/without_gil.hpp"

#include <unistd.h>

namespace {

class StayUnlessDone {
 public:
  ~StayUnlessDone() {
    while (!done_) pause();
  }
  void done() { done_ = true; }

 private:
  bool done_ = false;
};

}  // namespace

// A function of its own file, so that the frame that must not be left is not part of a destructor.
void WithoutGil::take_back(PyThreadState* state) {
  StayUnlessDone stay;
  PyEval_RestoreThread(state);
  stay.done();
}
