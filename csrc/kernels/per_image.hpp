// What is done with each image of a batch around a convolution, while a cache holds it.
#pragma once

#include <cstdint>
#include <functional>

#include "kernels/thread_pool.hpp"

namespace pyedge {

// Called once for every image, from any thread: `before` ahead of the first read of it, `after`
// when the last of its result has been written. Empty functions are left out.
struct PerImage {
  std::function<void(std::int64_t)> before, after;

  void begin(std::int64_t image) const {
    if (before) before(image);
  }
  void end(std::int64_t image) const {
    if (after) after(image);
  }
  // Around work that takes the images in pieces.
  template <typename Work>
  void around(std::int64_t images, const Work& work) const {
    if (before) parallel_for(images, before);
    work();
    if (after) parallel_for(images, after);
  }
};

}  // namespace pyedge
