// Convolutions in half precision on every path that has it, against plain loops in float64.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "conv_case.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "simd/half_bits.hpp"
#include "threads/thread_pool.hpp"

using check::ConvCase;
using check::ConvSizes;
using check::into;
using check::Map;
using check::Sum;
using pyedge::Lens;

namespace {

// Of numbers that bfloat16 holds a product is exact in float32: what is left are the sums'
// roundings, as in float32's tests.
constexpr double exact = 5e-6;
// Of a term, when both factors are rounded to 8 bits: 2^-8 each.
constexpr double rounded = 0x1p-7 + 0x1p-14;
// In norm: Winograd's transforms make four times of what the direct form is off by, 0.0024
// (docs/half.md).
constexpr double winograd = 1.6e-2;

template <typename Body>
void on_each_half(const Body& body) {
  check::on_each_case(check::low_precision_shapes(), {1, 3},
                      [&](ConvCase& c, const std::string& where, auto& random) {
                        const pyedge::HalfKernels* half =
                            pyedge::half_kernels(pyedge::kernel_table());
                        if (half != nullptr) body(c, *half, where, random);
                      });
}

void round(std::vector<float>& values) {
  for (float& x : values) x = from_bf16(to_bf16(x));
}

void run_forward(const ConvCase& c, const pyedge::HalfKernels& half, const Lens& lens, Map& out) {
  const pyedge::ConvForward conv(c.s, pyedge::kernel_table(), pyedge::num_threads(), &half);
  CHECK(conv.half() == (c.s.groups == 1));
  check::run_packed(conv, c, [&](const float* packed, float* scratch) {
    conv.run(c.input.data(), lens, packed, into(out), scratch);
  });
}

void run_gradient(const ConvCase& c, const pyedge::HalfKernels& half, Map& out) {
  const pyedge::ConvInputGradient conv(c.s, pyedge::kernel_table(), pyedge::num_threads(), &half);
  check::run_packed(conv, c, [&](const float* packed, float* scratch) {
    conv.run(c.output.data(), packed, into(out), scratch);
  });
}

bool takes_winograd(const ConvCase& c, const pyedge::HalfKernels& half) {
  return pyedge::ConvForward(c.s, pyedge::kernel_table(), 1, &half).winograd();
}

}  // namespace

TEST(half_rounds_to_the_nearest_even) {
  const float ulp = 0x1p-7f;  // of numbers from 1 to 2
  CHECK(from_bf16(to_bf16(1.0f + 0.5f * ulp)) == 1.0f);
  CHECK(from_bf16(to_bf16(1.0f + 1.5f * ulp)) == 1.0f + 2 * ulp);
  CHECK(from_bf16(to_bf16(1.0f + 0.51f * ulp)) == 1.0f + ulp);
  CHECK(from_bf16(to_bf16(-0.0f)) == 0.0f && std::signbit(from_bf16(to_bf16(-0.0f))));
  CHECK(std::isinf(from_bf16(to_bf16(std::numeric_limits<float>::max()))));
  CHECK(std::isnan(from_bf16(to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(half_copies_and_packs_as_the_plain_rounding_does) {
  check::on_each_isa([](const std::string& isa) {
    const pyedge::HalfKernels* half = pyedge::half_kernels(pyedge::kernel_table());
    if (half == nullptr) return;
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (const std::int64_t stride : {3, 16, 33, 48}) {
      if (stride % pyedge::kernel_table().lanes != 0 && stride != 3) continue;
      const std::int64_t h = 3, w = 4, step = (stride + 1) / 2 * 2;
      std::vector<float> image(static_cast<std::size_t>(h * w * stride));
      for (float& x : image) x = normal(random);
      image[1] = 1.0f + 0x1p-8f;
      std::vector<float> to(static_cast<std::size_t>(5 * 6 * step / 2), check::canary);
      half->copy_region({image.data(), h, w, stride, -1, -1, 5, 6, {}, to.data()});
      std::vector<std::uint16_t> found(to.size() * 2);
      std::memcpy(found.data(), to.data(), to.size() * 4);
      for (std::int64_t y = -1; y < 4; ++y) {
        for (std::int64_t x = -1; x < 5; ++x) {
          for (std::int64_t k = 0; k < step; ++k) {
            const bool inside = y >= 0 && y < h && x >= 0 && x < w && k < stride;
            const float value =
                inside ? image[static_cast<std::size_t>((y * w + x) * stride + k)] : 0.0f;
            const auto place = static_cast<std::size_t>(((y + 1) * 6 + x + 1) * step + k);
            CHECK_AT(found[place] == to_bf16(value), isa);
          }
        }
      }
    }
    const auto lanes = static_cast<std::size_t>(pyedge::kernel_table().lanes);
    std::vector<float> first(lanes), second(lanes), to(lanes);
    for (float& x : first) x = normal(random);
    for (float& x : second) x = normal(random);
    for (const bool both : {true, false}) {
      half->pair_rows(first.data(), both ? second.data() : nullptr,
                      static_cast<std::int64_t>(lanes), to.data());
      for (std::size_t i = 0; i < lanes; ++i) {
        std::uint16_t pair[2];
        std::memcpy(pair, &to[i], sizeof pair);
        CHECK_AT(pair[0] == to_bf16(first[i]), isa);
        CHECK_AT(pair[1] == (both ? to_bf16(second[i]) : 0), isa);
      }
    }
  });
}

TEST(half_forward_is_exact_but_for_sums_where_it_is_direct) {
  on_each_half([](ConvCase& c, const pyedge::HalfKernels& half, const std::string& where, auto&) {
    if (takes_winograd(c, half)) return;
    round(c.input.values);
    round(c.weights);
    run_forward(c, half, {}, c.output);
    c.output.each([&](auto i, auto y, auto x, auto o) {
      CHECK_AT(c.forward({}, i, y, x, o).near(c.output(i, y, x, o), exact), where);
    });
    CHECK_AT(c.output.padding_is_zero(), where);
  });
}

TEST(half_forward_is_near_float64_through_a_lens) {
  bool transformed = false;
  on_each_half([&](ConvCase& c, const pyedge::HalfKernels& half, const std::string& where,
                   std::mt19937& random) {
    Lens lens;
    const std::vector<float> scale = check::by_channel(c.input, 1.0f, random),
                             shift = check::by_channel(c.input, 0.0f, random);
    lens.scale = scale.data(), lens.shift = shift.data(), lens.low = 0.0f;
    run_forward(c, half, lens, c.output);
    const bool tiles = takes_winograd(c, half);
    check::Distance distance;
    c.output.each([&](auto i, auto y, auto x, auto o) {
      const Sum wanted = c.forward(lens, i, y, x, o);
      distance.add(wanted.value, c.output(i, y, x, o));
      CHECK_AT(tiles || wanted.near(c.output(i, y, x, o), rounded), where);
    });
    transformed |= tiles;
    CHECK_AT(!tiles || distance.within(winograd), where);
    CHECK_AT(c.output.padding_is_zero(), where);
  });
  CHECK(transformed);
}

TEST(half_input_gradient_is_near_float64) {
  bool transformed = false;
  on_each_half([&](ConvCase& c, const pyedge::HalfKernels& half, const std::string& where, auto&) {
    const bool tiles = pyedge::ConvInputGradient(c.s, pyedge::kernel_table(), 1, &half).winograd();
    round(c.output.values);
    round(c.weights);
    const std::vector<Sum> wanted = c.input_gradient();
    Map found(c.input);
    run_gradient(c, half, found);
    check::Distance distance;
    found.each([&](auto i, auto y, auto x, auto k) {
      const std::size_t at = found.at(i, y, x, k);
      distance.add(wanted[at].value, found.values[at]);
      CHECK_AT(tiles || wanted[at].near(found.values[at], exact), where);
    });
    transformed |= tiles;
    CHECK_AT(!tiles || distance.within(winograd), where);
    CHECK_AT(found.padding_is_zero(), where);
  });
  CHECK(transformed);
}

TEST(half_answers_do_not_depend_on_the_number_of_threads) {
  check::on_each_isa([](const std::string& isa) {
    const pyedge::HalfKernels* half = pyedge::half_kernels(pyedge::kernel_table());
    if (half == nullptr) return;
    std::mt19937 random(4);
    const std::int64_t lanes = pyedge::kernel_table().lanes;
    for (const ConvSizes& sizes : check::low_precision_shapes()) {
      ConvCase c(sizes, lanes, lanes, random);
      std::vector<Map> outputs, gradients;
      for (const int threads : {1, 2, 5}) {
        pyedge::set_num_threads(threads);
        outputs.emplace_back(c.output), gradients.emplace_back(c.input);
        run_forward(c, *half, {}, outputs.back());
        run_gradient(c, *half, gradients.back());
        CHECK_AT(outputs.back().values == outputs.front().values, isa);
        CHECK_AT(gradients.back().values == gradients.front().values, isa);
      }
    }
    pyedge::set_num_threads(2);
  });
}

TEST(half_packs_weights_in_half_the_bytes) {
  const pyedge::KernelTable& table = pyedge::kernel_table();
  const pyedge::HalfKernels* half = pyedge::half_kernels(table);
  if (half == nullptr) return;
  std::mt19937 random(5);
  for (const std::int64_t stride : {1, 2}) {
    const ConvCase c({1, 64, 64, 12, 12, 3, 3, stride, 1}, table.lanes, table.lanes, random);
    const auto floats = [&](const pyedge::HalfKernels* how) {
      return pyedge::ConvForward(c.s, table, 1, how).packed_floats();
    };
    CHECK(2 * floats(half) == floats(nullptr));
  }
}
