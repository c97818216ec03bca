// Convolutions for tests: shapes, and the three products as plain loops in float64.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/conv/conv2d.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "maps.hpp"
#include "threads/thread_pool.hpp"

namespace check {

// A heap block that ends with numbers which nobody may change.
class Scratch {
 public:
  explicit Scratch(std::int64_t floats) : values_(static_cast<std::size_t>(floats + 16), canary) {}
  float* data() { return values_.data(); }
  bool whole() const {
    return std::all_of(values_.end() - 16, values_.end(), [](float x) { return x == canary; });
  }

 private:
  std::vector<float> values_;
};

struct ConvSizes {
  std::int64_t n, c_in, c_out, h, w;
  std::int64_t kernel_h, kernel_w;
  std::int64_t stride = 1, padding = 0, dilation = 1, groups = 1;
};

struct ConvCase {
  pyedge::ConvShape s{};
  Map input, output;           // the output is a gradient too
  std::vector<float> weights;  // [tap, c_in / groups, out_stride]

  // in_lanes 1: an input without padding, as images are
  ConvCase(const ConvSizes& z, std::int64_t lanes, std::int64_t in_lanes, std::mt19937& random)
      // a tile may be read in quads of channels
      : input(z.n, z.h, z.w, z.c_in, in_lanes, 4),
        output(z.n, slid(z.h, z.kernel_h, z), slid(z.w, z.kernel_w, z), z.c_out, lanes, 4) {
    s = {z.n,      z.c_in,    z.h,           z.w,        input.stride, z.c_out,
         output.h, output.w,  output.stride, z.kernel_h, z.kernel_w,   z.stride,
         z.stride, z.padding, z.padding,     z.dilation, z.dilation,   z.groups};
    input.fill(random);
    output.fill(random);
    weights.resize(static_cast<std::size_t>(s.weight_floats()));
    std::normal_distribution<float> normal;
    for (std::int64_t row = 0; row < s.taps() * s.in_group(); ++row) {
      for (std::int64_t o = 0; o < s.c_out; ++o) weight_at(row, o) = normal(random);
    }
  }

  static std::int64_t slid(std::int64_t size, std::int64_t kernel, const ConvSizes& z) {
    return (size + 2 * z.padding - (kernel - 1) * z.dilation - 1) / z.stride + 1;
  }
  float& weight_at(std::int64_t row, std::int64_t o) {
    return weights[static_cast<std::size_t>(row * s.out_stride + o)];
  }
  std::size_t weight_place(std::int64_t tap, std::int64_t k, std::int64_t o) const {
    return static_cast<std::size_t>((tap * s.in_group() + k) * s.out_stride + o);
  }
  float weight(std::int64_t tap, std::int64_t k, std::int64_t o) const {
    return weights[weight_place(tap, k, o)];
  }
  // The first input channel that an output channel sees.
  std::int64_t seen_from(std::int64_t o) const { return o / (s.c_out / s.groups) * s.in_group(); }

  // Calls body(input y, input x, tap) for each tap of an output pixel that lies in the image.
  template <typename Body>
  void each_tap(std::int64_t oy, std::int64_t ox, const Body& body) const {
    for (std::int64_t ky = 0; ky < s.kernel_h; ++ky) {
      for (std::int64_t kx = 0; kx < s.kernel_w; ++kx) {
        const std::int64_t y = oy * s.stride_h - s.padding_h + ky * s.dilation_h;
        const std::int64_t x = ox * s.stride_w - s.padding_w + kx * s.dilation_w;
        if (y >= 0 && y < s.h && x >= 0 && x < s.w) body(y, x, ky * s.kernel_w + kx);
      }
    }
  }
  Sum forward(const pyedge::Lens& lens, std::int64_t i, std::int64_t oy, std::int64_t ox,
              std::int64_t o) const {
    Sum sum;
    each_tap(oy, ox, [&](std::int64_t y, std::int64_t x, std::int64_t tap) {
      for (std::int64_t k = 0; k < s.in_group(); ++k) {
        const std::int64_t c = seen_from(o) + k;
        sum.add(look(lens, input.get(i, y, x, c), c) * weight(tap, k, o));
      }
    });
    return sum;
  }
  // [input map]
  std::vector<Sum> input_gradient() const {
    std::vector<Sum> sums(input.values.size());
    output.each([&](auto i, auto oy, auto ox, auto o) {
      each_tap(oy, ox, [&](std::int64_t y, std::int64_t x, std::int64_t tap) {
        for (std::int64_t k = 0; k < s.in_group(); ++k) {
          sums[input.at(i, y, x, seen_from(o) + k)].add(static_cast<double>(weight(tap, k, o)) *
                                                        output.get(i, oy, ox, o));
        }
      });
    });
    return sums;
  }
  // [tap, c_in / groups, out_stride]
  std::vector<Sum> weight_gradient(const pyedge::Lens& lens) const {
    std::vector<Sum> sums(weights.size());
    output.each([&](auto i, auto oy, auto ox, auto o) {
      each_tap(oy, ox, [&](std::int64_t y, std::int64_t x, std::int64_t tap) {
        for (std::int64_t k = 0; k < s.in_group(); ++k) {
          const std::int64_t c = seen_from(o) + k;
          sums[weight_place(tap, k, o)].add(look(lens, input.get(i, y, x, c), c) *
                                            output.get(i, oy, ox, o));
        }
      });
    });
    return sums;
  }
};

inline std::string describe(const std::string& isa, const ConvSizes& z, int threads) {
  const auto text = [](std::int64_t value) { return std::to_string(value); };
  return isa + " n" + text(z.n) + " c" + text(z.c_in) + ">" + text(z.c_out) + " " + text(z.h) +
         "x" + text(z.w) + " kernel " + text(z.kernel_h) + "x" + text(z.kernel_w) + " stride " +
         text(z.stride) + " padding " + text(z.padding) + " dilation " + text(z.dilation) +
         " groups " + text(z.groups) + " threads " + std::to_string(threads);
}

// The finish that stores into a map.
inline pyedge::Finish into(Map& map) {
  return {map.data(), map.w * map.stride, map.stride};
}

// Calls body(case, name, random) for every shape and path, and each number of threads.
template <typename Body>
void on_each_case(const std::vector<ConvSizes>& shapes, const std::vector<int>& threads,
                  const Body& body) {
  on_each_isa([&](const std::string& isa) {
    std::mt19937 random(7);
    const std::int64_t lanes = pyedge::kernel_table().lanes;
    for (const ConvSizes& sizes : shapes) {
      for (const int count : threads) {
        pyedge::set_num_threads(count);
        ConvCase one(sizes, lanes, lanes, random);
        body(one, describe(isa, sizes, count), random);
      }
    }
  });
  pyedge::set_num_threads(2);
}

// Of convolutions in 16 and 8 bits.
inline const std::vector<ConvSizes>& low_precision_shapes() {
  static const std::vector<ConvSizes> all{
      {2, 1, 1, 1, 1, 1, 1},
      {2, 3, 5, 4, 3, 1, 1},
      {1, 17, 33, 5, 4, 1, 1},
      {2, 5, 7, 6, 5, 3, 3, 1, 1},
      {1, 4, 16, 7, 9, 3, 3, 2, 1},
      {1, 15, 31, 3, 3, 3, 3, 1, 1},
      {2, 6, 5, 9, 7, 1, 1, 3, 0},
      {1, 3, 4, 7, 8, 2, 3, 3, 2},
      {2, 7, 9, 3, 2, 5, 4, 1, 2},
      {1, 5, 6, 9, 9, 3, 3, 1, 2, 2},
      {1, 64, 64, 9, 8, 3, 3, 2, 1},
      // the window covers the image; many rows of pixels
      {5, 6, 10, 3, 4, 3, 4},
      {171, 3, 2, 2, 1, 2, 1},
      {2, 9, 70, 14, 13, 1, 1},
      // wide enough for Winograd
      {2, 68, 75, 8, 8, 3, 3, 1, 1},
      {1, 80, 65, 7, 10, 3, 3, 1, 0},
      {5, 66, 68, 4, 3, 3, 3, 1, 1},
      {2, 66, 68, 22, 38, 3, 3, 1, 1},
      {3, 300, 96, 6, 5, 3, 3, 1, 1},
      // groups stay in float32
      {2, 12, 12, 5, 6, 3, 3, 1, 1, 1, 4},
  };
  return all;
}

// body(packed weights, scratch memory) of a convolution that leaves what lies behind both alone.
template <typename Conv, typename Body>
void run_packed(const Conv& conv, const ConvCase& c, const Body& body) {
  Scratch packed(conv.packed_floats()), scratch(conv.scratch_floats()),
      spread(conv.pack_scratch_floats());
  conv.pack(c.weights.data(), packed.data(), spread.data());
  body(packed.data(), scratch.data());
  CHECK(packed.whole() && spread.whole());
  CHECK(scratch.whole());
}

// How far a map lies from what is wanted, in norm.
class Distance {
 public:
  void add(double wanted, double found) {
    difference_ += (wanted - found) * (wanted - found);
    square_ += wanted * wanted;
  }
  bool within(double share) const { return std::sqrt(difference_) <= share * std::sqrt(square_); }

 private:
  double difference_ = 0.0, square_ = 0.0;
};

}  // namespace check
