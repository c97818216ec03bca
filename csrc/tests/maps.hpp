// Maps for the tests of the engine's kernels: NHWC, channels padded with zeros to whole vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "check.hpp"
#include "kernels/conv/region.hpp"

namespace check {

constexpr float canary = 12345.678f;

// [n, h, w, c padded to stride], in a heap block that ends `spare` floats behind the last one: what
// a kernel may read beyond it. An address sanitizer sees whoever goes further.
struct Map {
  std::int64_t n, h, w, c, stride;
  std::vector<float> values;

  Map(std::int64_t images, std::int64_t height, std::int64_t width, std::int64_t channels,
      std::int64_t lanes, std::int64_t spare = 0)
      : n(images),
        h(height),
        w(width),
        c(channels),
        stride((channels + lanes - 1) / lanes * lanes),
        values(static_cast<std::size_t>(n * h * w * stride + spare)) {}

  std::size_t at(std::int64_t i, std::int64_t y, std::int64_t x, std::int64_t channel) const {
    return static_cast<std::size_t>(((i * h + y) * w + x) * stride + channel);
  }
  float& operator()(std::int64_t i, std::int64_t y, std::int64_t x, std::int64_t channel) {
    return values[at(i, y, x, channel)];
  }
  // 0 outside of the image
  float get(std::int64_t i, std::int64_t y, std::int64_t x, std::int64_t channel) const {
    return y < 0 || y >= h || x < 0 || x >= w ? 0.0f : values[at(i, y, x, channel)];
  }
  std::int64_t image() const { return h * w * stride; }
  float* data() { return values.data(); }
  const float* data() const { return values.data(); }

  template <typename Body>
  void each(const Body& body) const {
    for (std::int64_t i = 0; i < n; ++i) {
      for (std::int64_t y = 0; y < h; ++y) {
        for (std::int64_t x = 0; x < w; ++x) {
          for (std::int64_t k = 0; k < c; ++k) body(i, y, x, k);
        }
      }
    }
  }
  Map& fill(std::mt19937& random) {
    std::normal_distribution<float> normal;
    each([&](auto i, auto y, auto x, auto k) { (*this)(i, y, x, k) = normal(random); });
    return *this;
  }
  bool padding_is_zero() const {
    bool good = true;
    for (std::int64_t pixel = 0; pixel < n * h * w; ++pixel) {
      for (std::int64_t k = c; k < stride; ++k) {
        good = good && values[static_cast<std::size_t>(pixel * stride + k)] == 0.0f;
      }
    }
    return good;
  }
};

// One number a channel, padded with zeros.
inline std::vector<float> by_channel(const Map& map, float mean, std::mt19937& random) {
  std::vector<float> values = normal_floats(static_cast<std::size_t>(map.c), random);
  for (float& value : values) value += mean;
  values.resize(static_cast<std::size_t>(map.stride));
  return values;
}

// What a lens makes of a value, in float64.
inline double look(const pyedge::Lens& lens, double x, std::int64_t c) {
  if (lens.scale != nullptr) x = x * lens.scale[c] + lens.shift[c];
  return std::min(std::max(x, static_cast<double>(lens.low)), static_cast<double>(lens.high));
}

// A sum, and the sum of its terms' sizes: what its error is measured against.
struct Sum {
  double value = 0.0, size = 0.0;
  void add(double term) {
    value += term;
    size += std::abs(term);
  }
  bool near(float came, double tolerance) const {
    return std::abs(came - value) <= tolerance * size + 1e-30;
  }
};

// Gives all sums the size of the largest: Winograd's tiles mix the terms of neighbours.
inline void share_sizes(std::vector<Sum>& sums) {
  double most = 0.0;
  for (const Sum& sum : sums) most = std::max(most, sum.size);
  for (Sum& sum : sums) sum.size = most;
}

}  // namespace check
