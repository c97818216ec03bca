// Convolutions in 8 bits on every path that has them, against plain loops in whole numbers.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "conv_case.hpp"
#include "kernels/conv/int8_weights.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

using check::ConvCase;
using check::ConvSizes;
using check::into;
using check::Map;
using pyedge::InputScale;
using pyedge::Int8Forward;
using pyedge::Lens;

namespace {

// Of normal numbers; what lies beyond 3 and -2.4 saturates.
constexpr InputScale both_signs{5.4f / 255, 113};
constexpr InputScale from_zero{3.0f / 255, 0};
// In norm: Winograd's forms in 8 bits, a scale a patch and position (docs/int8.md).
constexpr double winograd = 6e-2;

int rounded(float x, const InputScale& input) {
  const auto zero = static_cast<float>(input.zero_point);
  const float y = std::min(std::max(x * (1.0f / input.scale), -zero), 255.0f - zero);
  return static_cast<int>(std::nearbyint(y)) + input.zero_point;
}

// The weights of an output channel in 8 bits, and what their sums are to be multiplied by.
struct Column {
  std::vector<int> weights;  // [tap, c_in]
  float factor;
};

Column column(const ConvCase& c, std::int64_t o, const InputScale& input) {
  float most = 0.0f;
  Column found;
  const auto each = [&](const auto& body) {
    for (std::int64_t tap = 0; tap < c.s.taps(); ++tap) {
      for (std::int64_t k = 0; k < c.s.c_in; ++k) body(c.weight(tap, k, o));
    }
  };
  each([&](float w) { most = std::max(most, std::abs(w)); });
  const float inverse = 127.0f / most;
  each([&](float w) { found.weights.push_back(static_cast<int>(std::nearbyint(w * inverse))); });
  found.factor = most / 127.0f * input.scale;
  return found;
}

template <typename Body>
void on_each_int8(const Body& body) {
  check::on_each_case(check::low_precision_shapes(), {1, 3},
                      [&](ConvCase& c, const std::string& where, auto& random) {
                        const pyedge::Int8Kernels* int8 =
                            pyedge::int8_kernels(pyedge::kernel_table());
                        if (int8 != nullptr) body(c, *int8, where, random);
                      });
}

pyedge::ConvForward conv_of(const ConvCase& c, const Int8Forward& how) {
  return {c.s, pyedge::kernel_table(), pyedge::num_threads(), nullptr, how};
}

void run_forward(const ConvCase& c, const Int8Forward& how, const Lens& lens, Map& out) {
  const pyedge::ConvForward conv = conv_of(c, how);
  CHECK(conv.int8() == (c.s.groups == 1));
  check::run_packed(conv, c, [&](const float* packed, float* scratch) {
    conv.run(c.input.data(), lens, packed, into(out), scratch);
  });
}

// The map of a direct convolution, by plain loops.
void check_exact(const ConvCase& c, const InputScale& input, const Lens& lens,
                 const std::string& where) {
  for (std::int64_t o = 0; o < c.s.c_out; ++o) {
    const Column by = column(c, o, input);
    for (std::int64_t pixel = 0; pixel < c.s.n * c.s.out_h * c.s.out_w; ++pixel) {
      const std::int64_t x = pixel % c.s.out_w, y = pixel / c.s.out_w % c.s.out_h;
      const std::int64_t i = pixel / c.s.out_w / c.s.out_h;
      std::int64_t sum = 0;
      c.each_tap(y, x, [&](std::int64_t in_y, std::int64_t in_x, std::int64_t tap) {
        for (std::int64_t k = 0; k < c.s.c_in; ++k) {
          const auto seen = static_cast<float>(check::look(lens, c.input.get(i, in_y, in_x, k), k));
          sum += (rounded(seen, input) - input.zero_point) *
                 by.weights[static_cast<std::size_t>(tap * c.s.c_in + k)];
        }
      });
      const float wanted = static_cast<float>(sum) * by.factor;
      CHECK_AT(c.output.get(i, y, x, o) == wanted, where);
    }
  }
}

}  // namespace

TEST(int8_forward_is_exact_where_it_is_direct) {
  bool direct = false;
  on_each_int8([&](ConvCase& c, const pyedge::Int8Kernels& int8, const std::string& where, auto&) {
    Lens relu;
    relu.low = 0.0f;
    for (const bool clamps : {false, true}) {
      const Int8Forward how{&int8, clamps ? from_zero : both_signs};
      if (conv_of(c, how).winograd() || c.s.groups > 1) continue;
      direct = true;
      const Lens lens = clamps ? relu : Lens{};
      run_forward(c, how, lens, c.output);
      check_exact(c, how.input, lens, where);
      CHECK_AT(c.output.padding_is_zero(), where);
    }
  });
  CHECK(direct);
}

TEST(int8_forward_of_images_without_padding_is_exact) {
  check::on_each_isa([](const std::string& isa) {
    const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(pyedge::kernel_table());
    if (int8 == nullptr) return;
    std::mt19937 random(11);
    for (const std::int64_t channels : {1, 3, 4, 5, 19}) {
      ConvCase c({2, channels, 21, 7, 6, 3, 3, 2, 1}, pyedge::kernel_table().lanes, 1, random);
      run_forward(c, {int8, both_signs}, {}, c.output);
      check_exact(c, both_signs, {}, isa);
    }
  });
}

TEST(int8_forward_is_near_float64_by_winograd_and_through_a_lens) {
  bool transformed = false;
  on_each_int8([&](ConvCase& c, const pyedge::Int8Kernels& int8, const std::string& where,
                   std::mt19937& random) {
    if (c.s.groups > 1) return;
    Lens lens;
    const std::vector<float> scale = check::by_channel(c.input, 1.0f, random),
                             shift = check::by_channel(c.input, 0.0f, random);
    lens.scale = scale.data(), lens.shift = shift.data(), lens.low = 0.0f;
    double most = 0.0;
    c.input.each([&](auto i, auto y, auto x, auto k) {
      most = std::max(most, check::look(lens, c.input(i, y, x, k), k));
    });
    const Int8Forward how{&int8, {static_cast<float>(most) / 255, 0}};
    const bool tiles = conv_of(c, how).winograd();
    transformed |= tiles;
    run_forward(c, how, lens, c.output);
    check::Distance distance;
    std::int64_t count = 0;
    c.output.each([&](auto i, auto y, auto x, auto o) {
      distance.add(c.forward(lens, i, y, x, o).value, c.output(i, y, x, o));
      ++count;
    });
    // a few numbers alone may be off by more
    CHECK_AT(count < 100 || distance.within(tiles ? winograd : 2.5e-2), where);
    CHECK_AT(c.output.padding_is_zero(), where);
  });
  CHECK(transformed);
}

TEST(int8_answers_have_the_same_bits_on_every_path_and_for_any_threads) {
  for (const ConvSizes& sizes : check::low_precision_shapes()) {
    std::vector<float> first;
    check::on_each_isa([&](const std::string& isa) {
      const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(pyedge::kernel_table());
      if (int8 == nullptr) return;
      const std::int64_t lanes = pyedge::kernel_table().lanes;
      std::vector<float> before;
      for (const int threads : {1, 2, 5}) {
        pyedge::set_num_threads(threads);
        std::mt19937 random(4);
        ConvCase c(sizes, lanes, lanes, random);
        run_forward(c, {int8, both_signs}, {}, c.output);
        std::vector<float> values;
        c.output.each(
            [&](auto i, auto y, auto x, auto o) { values.push_back(c.output(i, y, x, o)); });
        if (before.empty()) before = values;
        CHECK_AT(values == before, check::describe(isa, sizes, threads));
        // Winograd's transforms, and groups, are float32's
        if (conv_of(c, {int8, both_signs}).winograd() || sizes.groups > 1) continue;
        if (first.empty()) first = values;
        CHECK_AT(values == first, check::describe(isa, sizes, threads));
      }
    });
  }
  pyedge::set_num_threads(2);
}

TEST(int8_sums_of_the_most_products_do_not_overflow) {
  check::on_each_isa([](const std::string& isa) {
    const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(pyedge::kernel_table());
    if (int8 == nullptr) return;
    std::mt19937 random(2);
    const std::int64_t lanes = pyedge::kernel_table().lanes;
    const Int8Forward how{int8, {1.0f / 255, 0}};
    for (const std::int64_t more : {0, 1}) {
      ConvCase c({1, pyedge::most_int8_products + more, 1, 1, 1, 1, 1}, lanes, lanes, random);
      const pyedge::ConvForward conv = conv_of(c, how);
      CHECK_AT(conv.int8() == (more == 0), isa);
      if (more > 0) continue;
      for (const float sign : {1.0f, -1.0f}) {
        c.input.each([&](auto i, auto y, auto x, auto k) { c.input(i, y, x, k) = 1.0f; });
        for (std::int64_t k = 0; k < c.s.c_in; ++k) c.weight_at(k, 0) = sign;
        run_forward(c, how, {}, c.output);
        const auto sum = sign * 255.0f * 127.0f * static_cast<float>(c.s.c_in);
        CHECK_AT(c.output(0, 0, 0, 0) == sum * (1.0f / 127.0f * (1.0f / 255)), isa);
      }
    }
  });
}

TEST(int8_copies_as_the_plain_rounding_does) {
  check::on_each_isa([](const std::string& isa) {
    const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(pyedge::kernel_table());
    if (int8 == nullptr) return;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    const InputScale input{1.0f / 64, 100};  // exact steps, so that halves are halves
    for (const std::int64_t stride : {3, 16, 33, 48}) {
      if (stride % pyedge::kernel_table().lanes != 0 && stride != 3) continue;
      const std::int64_t h = 3, w = 4, step = (stride + 3) / 4 * 4;
      std::vector<float> image(static_cast<std::size_t>(h * w * stride));
      for (float& x : image) x = normal(random);
      image[0] = 0.5f / 64, image[1] = 1.5f / 64, image[2] = -0.5f / 64;
      image[3] = std::numeric_limits<float>::max(), image[4] = -image[3];
      image[5] = std::numeric_limits<float>::infinity(), image[6] = -image[5];
      image[7] = std::numeric_limits<float>::quiet_NaN();
      std::vector<float> to(static_cast<std::size_t>(5 * 6 * step / 4), check::canary);
      int8->copy_region({image.data(), h, w, stride, -1, -1, 5, 6, {}, to.data()}, input);
      std::vector<std::uint8_t> found(to.size() * 4);
      std::memcpy(found.data(), to.data(), found.size());
      for (std::int64_t y = -1; y < 4; ++y) {
        for (std::int64_t x = -1; x < 5; ++x) {
          for (std::int64_t k = 0; k < step; ++k) {
            const bool inside = y >= 0 && y < h && x >= 0 && x < w && k < stride;
            const float value =
                inside ? image[static_cast<std::size_t>((y * w + x) * stride + k)] : 0.0f;
            const int wanted = std::isnan(value) ? input.zero_point : rounded(value, input);
            const auto place = static_cast<std::size_t>(((y + 1) * 6 + x + 1) * step + k);
            CHECK_AT(static_cast<std::uint8_t>(found[place] + int8->less) == wanted, isa);
          }
        }
      }
    }
  });
}

TEST(int8_packs_weights_in_little_more_than_a_quarter_of_the_bytes) {
  const pyedge::KernelTable& table = pyedge::kernel_table();
  const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(table);
  if (int8 == nullptr) return;
  std::mt19937 random(5);
  for (const std::int64_t stride : {1, 2}) {
    const ConvCase c({1, 64, 64, 12, 12, 3, 3, stride, 1}, table.lanes, table.lanes, random);
    const pyedge::ConvForward conv = conv_of(c, {int8, both_signs}), plain = conv_of(c, {});
    CHECK(conv.int8() && conv.winograd() == plain.winograd());
    const std::int64_t rows = conv.winograd() ? 36 : 1;  // two numbers a channel and matrix
    CHECK(conv.packed_floats() == plain.packed_floats() / 4 + 2 * rows * c.s.out_stride);
  }
}
