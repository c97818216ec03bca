// Convolution and its two gradients on every path, against plain loops in float64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "conv_case.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

using check::ConvCase;
using check::ConvSizes;
using check::into;
using check::Map;
using check::Scratch;
using check::Sum;
using pyedge::Finish;
using pyedge::Lens;

namespace {

// A term's rounding is 6e-8 of it, sums in float32 of some hundred of them stay below 1e-6 of their
// sizes together; Winograd's transforms add terms that are 20 times as large and cancel.
constexpr double tolerance = 5e-6;

const std::vector<ConvSizes>& shapes() {
  static const std::vector<ConvSizes> all{
      // about the vectors' widths
      {2, 1, 1, 1, 1, 1, 1},
      {2, 3, 5, 4, 3, 1, 1},
      {1, 17, 33, 5, 4, 1, 1},
      {2, 5, 7, 6, 5, 3, 3, 1, 1},
      {1, 4, 16, 7, 9, 3, 3, 2, 1},
      {1, 15, 31, 3, 3, 3, 3, 1, 1},
      {3, 9, 8, 5, 5, 2, 2, 2, 0},
      // strides larger than the window, windows larger than the image, one line, dilation
      {2, 6, 5, 9, 7, 1, 1, 3, 0},
      {1, 3, 4, 7, 8, 2, 3, 3, 2},
      {2, 7, 9, 3, 2, 5, 4, 1, 2},
      {1, 8, 5, 1, 19, 1, 5, 1, 0},
      {1, 5, 6, 9, 9, 3, 3, 1, 2, 2},
      {1, 5, 6, 9, 8, 3, 2, 2, 1, 3},
      {1, 2, 18, 12, 11, 7, 7, 2, 2},
      // the window covers the image: a linear layer
      {5, 6, 10, 3, 4, 3, 4},
      {171, 3, 2, 2, 1, 2, 1},
      // wide enough for Winograd, with whole tiles and with parts
      {2, 34, 37, 8, 8, 3, 3, 1, 1},
      {1, 40, 33, 7, 10, 3, 3, 1, 0},
      {5, 33, 34, 4, 3, 3, 3, 1, 1},
      {1, 48, 34, 5, 6, 3, 3, 1, 2},
      // bands of an image; blocks and panels of output channels; too wide for a cache
      {2, 33, 34, 22, 38, 3, 3, 1, 1},
      {2, 100, 120, 8, 6, 3, 3, 1, 1},
      {3, 300, 48, 6, 5, 3, 3, 1, 1},
      // groups of 1, 3, 4, 5, 8, 9, 16, 17, 24 and 33, as wide inside as outside and not
      {2, 12, 12, 5, 6, 3, 3, 1, 1, 1, 4},
      {1, 20, 20, 6, 5, 3, 3, 2, 1, 1, 4},
      {1, 15, 10, 4, 4, 1, 1, 1, 0, 1, 5},
      {2, 48, 48, 5, 4, 1, 1, 2, 0, 1, 12},
      {1, 32, 32, 9, 7, 5, 5, 1, 2, 1, 4},
      {1, 27, 27, 8, 9, 5, 5, 2, 2, 1, 3},
      {1, 18, 36, 6, 6, 3, 3, 1, 1, 1, 18},
      {1, 36, 18, 6, 5, 3, 3, 1, 1, 1, 18},
      {2, 68, 51, 7, 6, 3, 3, 2, 1, 1, 17},
      {1, 9, 6, 8, 7, 3, 2, 2, 1, 2, 3},
      {3, 10, 4, 1, 1, 3, 3, 1, 1, 1, 2},
      {2, 6, 21, 3, 2, 3, 2, 1, 0, 1, 3},
      {171, 6, 4, 2, 1, 2, 1, 1, 0, 1, 2},
      // the same, with Winograd on some paths
      {2, 96, 96, 6, 9, 3, 3, 1, 1, 1, 24},
      {2, 72, 72, 8, 8, 3, 3, 1, 1, 1, 9},
      {1, 96, 96, 22, 38, 3, 3, 1, 1, 1, 6},
      {5, 102, 68, 4, 3, 3, 3, 1, 1, 1, 2},
      {2, 99, 132, 7, 5, 3, 3, 1, 0, 1, 3},
  };
  return all;
}

template <typename Body>
void on_each_case(const Body& body) {
  check::on_each_case(shapes(), {1, 3}, body);
}

void run_forward(const ConvCase& c, const Lens& lens, const Finish& finish,
                 const std::string& where) {
  const pyedge::ConvForward conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
  Scratch packed(conv.packed_floats()), scratch(conv.scratch_floats()),
      spread(conv.pack_scratch_floats());
  conv.pack(c.weights.data(), packed.data(), spread.data());
  conv.run(c.input.data(), lens, packed.data(), finish, scratch.data());
  CHECK_AT(packed.whole() && spread.whole(), where);
  CHECK_AT(scratch.whole(), where);
}

}  // namespace

TEST(conv_forward_equals_the_sum_of_products) {
  on_each_case([](ConvCase& c, const std::string& where, std::mt19937&) {
    Map& out = c.output;
    run_forward(c, {}, into(out), where);
    out.each([&](auto i, auto y, auto x, auto o) {
      CHECK_AT(c.forward({}, i, y, x, o).near(out(i, y, x, o), tolerance), where);
    });
    CHECK_AT(out.padding_is_zero(), where);
  });
}

TEST(conv_forward_looks_through_a_lens_and_adds_what_it_is_told) {
  on_each_case([](ConvCase& c, const std::string& where, std::mt19937& random) {
    Lens lens, residual_lens;
    const std::vector<float> scale = check::by_channel(c.input, 1.0f, random),
                             shift = check::by_channel(c.input, 0.0f, random),
                             bias = check::by_channel(c.output, 0.0f, random);
    lens.scale = scale.data();
    lens.shift = shift.data();
    lens.low = 0.0f;
    lens.high = 1.5f;
    residual_lens.low = 0.0f;
    const Map residual = Map(c.output).fill(random);
    Map& out = c.output;
    const Map before = out;
    Finish finish = into(out);
    finish.bias = bias.data();
    finish.residual = residual.data();
    finish.residual_lens = residual_lens;
    finish.accumulate = true;
    run_forward(c, lens, finish, where);
    out.each([&](auto i, auto y, auto x, auto o) {
      Sum sum = c.forward(lens, i, y, x, o);
      sum.add(bias[static_cast<std::size_t>(o)]);
      sum.add(check::look(residual_lens, residual.get(i, y, x, o), o));
      sum.add(before.get(i, y, x, o));
      CHECK_AT(sum.near(out(i, y, x, o), tolerance), where);
    });
    CHECK_AT(out.padding_is_zero(), where);
  });
}

TEST(conv_forward_of_images_without_padding) {
  check::on_each_isa([](const std::string& isa) {
    std::mt19937 random(8);
    for (const ConvSizes& sizes :
         {ConvSizes{2, 3, 14, 8, 9, 3, 3, 1, 1}, ConvSizes{1, 3, 20, 12, 12, 7, 7, 2, 2},
          ConvSizes{2, 1, 6, 5, 4, 1, 1}}) {
      ConvCase c(sizes, pyedge::kernel_table().lanes, 1, random);
      const std::string where = check::describe(isa, sizes, 2);
      const std::vector<Sum> wanted = c.weight_gradient({});
      const pyedge::ConvWeightGradient conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
      Scratch scratch(conv.scratch_floats());
      std::vector<float> gradient(c.weights.size());
      conv.run(c.input.data(), {}, c.output.data(), gradient.data(), scratch.data());
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        CHECK_AT(wanted[i].near(gradient[i], tolerance), where);
      }
      CHECK_AT(scratch.whole(), where);
      run_forward(c, {}, into(c.output), where);
      c.output.each([&](auto i, auto y, auto x, auto o) {
        CHECK_AT(c.forward({}, i, y, x, o).near(c.output(i, y, x, o), tolerance), where);
      });
    }
  });
}

TEST(conv_input_gradient_equals_the_sum_of_products) {
  on_each_case([](ConvCase& c, const std::string& where, std::mt19937& random) {
    std::vector<Sum> wanted = c.input_gradient();
    const pyedge::ConvInputGradient conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
    if (conv.winograd()) check::share_sizes(wanted);
    Scratch packed(conv.packed_floats()), scratch(conv.scratch_floats()),
        turned(conv.pack_scratch_floats());
    conv.pack(c.weights.data(), packed.data(), turned.data());
    Map plain(c.input), finished = Map(c.input).fill(random);
    conv.run(c.output.data(), packed.data(), into(plain), scratch.data());
    // through a norm and a ReLU, added to what is there
    const Map before = finished;
    Lens lens;
    const std::vector<float> scale = check::by_channel(c.input, 1.0f, random),
                             shift = check::by_channel(c.input, 0.0f, random);
    lens.scale = scale.data();
    lens.shift = shift.data();
    lens.low = 0.0f;
    Finish finish = into(finished);
    finish.base = c.input.data();
    finish.lens = lens;
    finish.gain = scale.data();
    finish.accumulate = true;
    conv.run(c.output.data(), packed.data(), finish, scratch.data());
    CHECK_AT(packed.whole() && scratch.whole() && turned.whole(), where);
    CHECK_AT(plain.padding_is_zero() && finished.padding_is_zero(), where);
    plain.each([&](auto i, auto y, auto x, auto k) {
      const std::size_t at = plain.at(i, y, x, k);
      CHECK_AT(wanted[at].near(plain.values[at], tolerance), where);
      const double gain = scale[static_cast<std::size_t>(k)];
      const double open = check::look(lens, c.input.values[at], k) > 0.0 ? gain : 0.0;
      Sum sum{wanted[at].value * open, wanted[at].size * std::abs(open)};
      sum.add(before.values[at]);
      CHECK_AT(sum.near(finished.values[at], tolerance), where);
    });
  });
}

TEST(conv_weight_gradient_equals_the_sum_of_products) {
  on_each_case([](ConvCase& c, const std::string& where, std::mt19937& random) {
    Lens lens;
    const std::vector<float> scale = check::by_channel(c.input, 1.0f, random),
                             shift = check::by_channel(c.input, 0.0f, random);
    lens.scale = scale.data();
    lens.shift = shift.data();
    lens.low = 0.0f;
    lens.high = 6.0f;
    for (const Lens& seen : {Lens{}, lens}) {
      std::vector<Sum> wanted = c.weight_gradient(seen);
      const pyedge::ConvWeightGradient conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
      if (conv.winograd()) check::share_sizes(wanted);
      Scratch scratch(conv.scratch_floats()), gradient(c.s.weight_floats());
      constexpr float before = 0.25f;  // what it adds to
      std::fill_n(gradient.data(), c.s.weight_floats(), before);
      conv.run(c.input.data(), seen, c.output.data(), gradient.data(), scratch.data());
      CHECK_AT(scratch.whole() && gradient.whole(), where);
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        wanted[i].add(before);
        CHECK_AT(wanted[i].near(gradient.data()[i], tolerance), where);
      }
    }
  });
}

// Zeros between groups, and Winograd's transforms, may spread it; nothing may hide it, and no other
// image has it.
TEST(conv_in_groups_keeps_what_is_not_finite) {
  check::on_each_isa([](const std::string& isa) {
    std::mt19937 random(10);
    for (const ConvSizes& sizes : {ConvSizes{3, 48, 24, 6, 5, 3, 3, 1, 1, 1, 12},
                                   ConvSizes{3, 72, 72, 8, 8, 3, 3, 1, 1, 1, 3},
                                   ConvSizes{3, 10, 15, 7, 6, 3, 3, 2, 1, 1, 5}}) {
      const std::int64_t lanes = pyedge::kernel_table().lanes;
      for (const float bad :
           {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
        ConvCase c(sizes, lanes, lanes, random);
        const std::string where = check::describe(isa, sizes, pyedge::num_threads());
        const std::int64_t channel = sizes.c_in / 2;
        c.input.values[c.input.at(1, 2, 2, channel)] = bad;
        run_forward(c, {}, into(c.output), where);
        c.output.each([&](auto i, auto y, auto x, auto o) {
          bool sees = false;
          c.each_tap(y, x, [&](std::int64_t from_y, std::int64_t from_x, std::int64_t) {
            const std::int64_t k = channel - c.seen_from(o);
            sees |= i == 1 && from_y == 2 && from_x == 2 && k >= 0 && k < c.s.in_group();
          });
          const bool finite = std::isfinite(c.output(i, y, x, o));
          CHECK_AT(i == 1 || finite, where);
          CHECK_AT(!sees || !finite, where);
        });
      }
    }
  });
}

// A 3x3 window in the middle of a 5x5 one of zeros: the same product, and no Winograd.
TEST(conv_winograd_equals_direct) {
  check::on_each_isa([](const std::string& isa) {
    std::mt19937 random(9);
    const std::int64_t lanes = pyedge::kernel_table().lanes;
    for (const std::int64_t padding : {0, 1, 2}) {
      for (const std::int64_t size : {6, 8, 13}) {
        const ConvSizes small{3, 36, 41, size, size + 1, 3, 3, 1, padding};
        const ConvSizes large{3, 36, 41, size, size + 1, 5, 5, 1, padding + 1};
        ConvCase fast(small, lanes, lanes, random), direct(large, lanes, lanes, random);
        CHECK(pyedge::ConvForward(fast.s, pyedge::kernel_table(), 1).winograd());
        CHECK(!pyedge::ConvForward(direct.s, pyedge::kernel_table(), 1).winograd());
        const std::string where = check::describe(isa, small, pyedge::num_threads());
        direct.input = fast.input;
        std::fill(direct.weights.begin(), direct.weights.end(), 0.0f);
        const std::int64_t row = fast.s.c_in * fast.s.out_stride;
        for (std::int64_t tap = 0; tap < 9; ++tap) {
          const std::int64_t to = (tap / 3 + 1) * 5 + tap % 3 + 1;
          std::copy_n(fast.weights.begin() + tap * row, row, direct.weights.begin() + to * row);
        }
        run_forward(fast, {}, into(fast.output), where);
        run_forward(direct, {}, into(direct.output), where);
        double difference = 0.0, square = 0.0;
        fast.output.each([&](auto i, auto y, auto x, auto o) {
          const double one = fast.output(i, y, x, o), other = direct.output(i, y, x, o);
          difference += (one - other) * (one - other);
          square += other * other;
        });
        // 4 to 6 bits are lost in transforms and back (Lavin & Gray 2016, Table 2)
        CHECK_AT(difference < 4e-12 * square, where);
      }
    }
  });
}
