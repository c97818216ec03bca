// zero_count and zero_count_affine on every path, against a loop over elements.
#include "check.hpp"
#include "kernels/sums/zero_count.hpp"
#include "threads/thread_pool.hpp"

using pyedge::Layout;
using pyedge::Shape;

namespace {

std::size_t at(const Shape& s, std::int64_t n, std::int64_t c, std::int64_t p) {
  const std::int64_t inside = s.layout == Layout::nchw ? c * s.hw + p : p * s.c + c;
  return static_cast<std::size_t>(n * image_size(s) + inside);
}

template <typename Question>
std::vector<std::int32_t> count(const Shape& s, const Question& question) {
  std::vector<std::int32_t> counts;
  for (std::int64_t n = 0; n < s.n; ++n) {
    for (std::int64_t c = 0; c < s.c; ++c) {
      std::int32_t zeros = 0;
      for (std::int64_t p = 0; p < s.hw; ++p) zeros += question(c, at(s, n, c, p));
      counts.push_back(zeros);
    }
  }
  return counts;
}

void check_shape(const Shape& s, std::size_t offset, std::mt19937& random,
                 const std::string& where) {
  const std::vector<float> values =
      check::awkward_floats(static_cast<std::size_t>(s.n * image_size(s)), random);
  const std::vector<float> scale = check::awkward_floats(static_cast<std::size_t>(s.c), random);
  const std::vector<float> shift = check::awkward_floats(static_cast<std::size_t>(s.c), random);
  const check::Unaligned x(values, offset), a(scale, offset), b(shift, offset);
  std::vector<std::int32_t> counts(static_cast<std::size_t>(s.n * s.c), -1);
  pyedge::zero_count(s, x.data(), counts.data());
  CHECK_AT(counts == count(s, [&](auto, auto i) { return values[i] == 0.0f; }), where);
  pyedge::zero_count_affine(s, x.data(), a.data(), b.data(), counts.data());
  const auto off = [&](std::int64_t c, std::size_t i) {
    const auto j = static_cast<std::size_t>(c);
    const float product = scale[j] * values[i];
    return product + shift[j] <= 0.0f;
  };
  CHECK_AT(counts == count(s, off), where);
}

std::string describe(const std::string& isa, const Shape& s) {
  return isa + " n" + std::to_string(s.n) + " c" + std::to_string(s.c) + " hw" +
         std::to_string(s.hw) + (s.layout == Layout::nchw ? " nchw" : " channels-last");
}

}  // namespace

TEST(zero_count_sizes_about_the_vector) {
  std::mt19937 random(1);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      for (const int c : check::awkward_sizes()) {
        for (const int hw : check::awkward_sizes()) {
          const Shape s{2, c, hw, layout};
          check_shape(s, static_cast<std::size_t>(c + hw) % 4, random, describe(isa, s));
        }
      }
    }
  });
}

TEST(zero_count_shapes_split_over_items) {
  std::mt19937 random(2);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      for (const Shape& s : {Shape{1, 3, 70000, layout}, Shape{1, 300, 1030, layout},
                             Shape{0, 5, 7, layout}, Shape{9, 130, 49, layout}}) {
        for (const int threads : {1, 3}) {
          pyedge::set_num_threads(threads);
          check_shape(s, 1, random, describe(isa, s));
        }
      }
    }
  });
  pyedge::set_num_threads(2);
}
