// A batch of feature maps: logically n, c, h*w; in memory one of two layouts.
#pragma once

#include <cstdint>

namespace pyedge {

enum class Layout { nchw, channels_last };

struct Shape {
  std::int64_t n, c, hw;
  Layout layout;
};

inline std::int64_t image_size(const Shape& shape) {
  return shape.c * shape.hw;
}

}  // namespace pyedge
