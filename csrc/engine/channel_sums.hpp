// Sums over the images of a batch for each channel of a map, in float64: image by image, then in
// the images' order, so that they do not depend on the threads.
#pragma once

#include <cstdint>

#include "engine/program.hpp"
#include "kernels/dispatch/kernel_table.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

class ChannelSums {
 public:
  // Of scratch memory, for so many images.
  static std::int64_t scratch_floats(std::int64_t images, const Tensor& t) {
    return images * 4 * t.stride;
  }

  // Of a and of a b, both [images, h, w, stride]. scratch: 64-byte aligned floats serve as float64.
  ChannelSums(const KernelTable& table, const Tensor& t, std::int64_t images, const float* a,
              const float* b, float* scratch)
      : images_(images), stride_(t.stride), sums_(reinterpret_cast<double*>(scratch)) {
    parallel_for(images, [&](std::int64_t i) {
      table.channel_sums(a + i * t.image(), b + i * t.image(), t.h * t.w, t.stride,
                         sums_ + 2 * i * t.stride);
    });
  }

  double of_a(std::int64_t channel) const { return total(channel); }
  double of_product(std::int64_t channel) const { return total(stride_ + channel); }

 private:
  double total(std::int64_t place) const {
    double sum = 0.0;
    for (std::int64_t i = 0; i < images_; ++i) sum += sums_[2 * i * stride_ + place];
    return sum;
  }

  std::int64_t images_, stride_;
  double* sums_;
};

}  // namespace pyedge
