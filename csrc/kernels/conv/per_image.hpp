// What is done with each image of a batch around a convolution, while a cache holds it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "threads/thread_pool.hpp"

namespace pyedge {

// Touches one image of a batch, and scratch memory of the worker's.
using ImageWork = std::function<void(std::int64_t image, int worker)>;

// Done once for every image, in order, by whichever thread: `before` ahead of the convolution's
// first read of it, `after` when the last of its result has been written.
struct PerImage {
  std::vector<ImageWork> before, after;

  bool empty() const { return before.empty() && after.empty(); }
  void begin(std::int64_t image, int worker) const {
    for (const ImageWork& work : before) work(image, worker);
  }
  void end(std::int64_t image, int worker) const {
    for (const ImageWork& work : after) work(image, worker);
  }
  // Around body(image, band, worker), for each band of each image.
  template <typename Body>
  void around_bands(std::int64_t images, std::int64_t bands, const Body& body) const {
    if (bands == 1) {
      return parallel_for_workers(images, [&](std::int64_t image, int worker) {
        begin(image, worker);
        body(image, std::int64_t{0}, worker);
        end(image, worker);
      });
    }
    around(images, [&] {
      parallel_for_workers(images * bands, [&](std::int64_t item, int worker) {
        body(item / bands, item % bands, worker);
      });
    });
  }
  // Around a convolution that takes the images in pieces, or all at once.
  template <typename Body>
  void around(std::int64_t images, const Body& convolve) const {
    if (!before.empty()) {
      parallel_for_workers(images, [&](std::int64_t i, int worker) { begin(i, worker); });
    }
    convolve();
    if (!after.empty()) {
      parallel_for_workers(images, [&](std::int64_t i, int worker) { end(i, worker); });
    }
  }
};

}  // namespace pyedge
