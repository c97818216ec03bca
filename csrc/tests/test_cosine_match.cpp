// cosine_match and its gradient on every path, against loops in long double.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "check.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/match/cosine_match.hpp"
#include "threads/thread_pool.hpp"

using pyedge::ChannelMap;
using pyedge::Layout;
using pyedge::Shape;

namespace {

struct Case {
  Shape teacher;
  std::vector<std::int64_t> kept;
  std::vector<float> student;
  std::vector<std::vector<float>> teachers;

  std::int64_t width() const { return static_cast<std::int64_t>(kept.size()); }
  std::size_t student_at(std::int64_t n, std::int64_t j, std::int64_t p) const {
    const std::int64_t hw = teacher.hw, c = width();
    const bool rows = teacher.layout == Layout::nchw;
    return static_cast<std::size_t>(n * c * hw + (rows ? j * hw + p : p * c + j));
  }
  std::size_t teacher_at(std::int64_t n, std::int64_t c, std::int64_t p) const {
    const bool rows = teacher.layout == Layout::nchw;
    return static_cast<std::size_t>(n * image_size(teacher) +
                                    (rows ? c * teacher.hw + p : p * teacher.c + c));
  }
};

// Keeps each channel with a chance of one half, so that masks of all kinds occur.
Case make_case(const Shape& shape, int k, std::mt19937& random) {
  Case made{shape, {}, {}, {}};
  for (std::int64_t c = 0; c < shape.c; ++c) {
    if (random() % 2 == 0) made.kept.push_back(c);
  }
  made.student =
      check::normal_floats(static_cast<std::size_t>(shape.n * made.width() * shape.hw), random);
  for (int q = 0; q < k; ++q) {
    made.teachers.push_back(
        check::normal_floats(static_cast<std::size_t>(shape.n * image_size(shape)), random));
  }
  return made;
}

std::vector<double> sums_of(const Case& c, std::size_t offset = 0) {
  const auto k = static_cast<std::int64_t>(c.teachers.size());
  const ChannelMap map(c.kept.data(), c.width(), c.teacher.c, pyedge::kernel_table());
  const pyedge::MatchPlan plan(c.teacher, k);
  std::vector<double> sums(static_cast<std::size_t>(plan.sums()));
  const check::Unaligned student(c.student, offset);
  std::vector<check::Unaligned> copies;
  for (const auto& teacher : c.teachers) copies.emplace_back(teacher, offset);
  std::vector<const float*> teachers;
  for (const auto& copy : copies) teachers.push_back(copy.data());
  pyedge::cosine_match(c.teacher, student.data(), teachers.data(), k, map, plan, sums.data());
  sums.resize(static_cast<std::size_t>(c.teacher.n * (2 * k + 1)));
  return sums;
}

// Sums of `terms` exact products, each addition off by half an ulp at most.
bool near(double got, long double want, long double magnitude, std::int64_t terms) {
  const long double bound =
      static_cast<long double>(terms + 8) * std::numeric_limits<double>::epsilon() * magnitude / 2;
  return std::fabs(static_cast<long double>(got) - want) <= bound;
}

void check_sums(const Case& c, std::size_t offset, const std::string& where) {
  const std::vector<double> sums = sums_of(c, offset);
  const std::size_t k = c.teachers.size();
  const std::int64_t terms = image_size(c.teacher);
  for (std::int64_t n = 0; n < c.teacher.n; ++n) {
    const double* got = sums.data() + static_cast<std::size_t>(n) * (2 * k + 1);
    long double ss = 0;
    for (std::int64_t j = 0; j < c.width(); ++j) {
      for (std::int64_t p = 0; p < c.teacher.hw; ++p) {
        const long double s = c.student[c.student_at(n, j, p)];
        ss += s * s;
      }
    }
    CHECK_AT(near(got[2 * k], ss, ss, terms), where);
    for (std::size_t q = 0; q < k; ++q) {
      long double tt = 0, ts = 0, magnitude = 0;
      for (std::int64_t p = 0; p < c.teacher.hw; ++p) {
        for (std::int64_t channel = 0; channel < c.teacher.c; ++channel) {
          const long double t = c.teachers[q][c.teacher_at(n, channel, p)];
          tt += t * t;
        }
        for (std::int64_t j = 0; j < c.width(); ++j) {
          const long double t =
              c.teachers[q][c.teacher_at(n, c.kept[static_cast<std::size_t>(j)], p)];
          const long double product = t * c.student[c.student_at(n, j, p)];
          ts += product;
          magnitude += std::fabs(product);
        }
      }
      CHECK_AT(near(got[q], ts, magnitude, terms), where);
      CHECK_AT(near(got[k + q], tt, tt, terms), where);
    }
  }
}

void check_gradient(const Case& c, std::size_t offset, const std::string& where) {
  const ChannelMap map(c.kept.data(), c.width(), c.teacher.c, pyedge::kernel_table());
  std::vector<pyedge::GradientFactors> factors;
  for (std::int64_t n = 0; n < c.teacher.n; ++n) factors.push_back({-0.7 + 0.1 * double(n), 0.3});
  const check::Unaligned s(c.student, offset), t(c.teachers[0], offset);
  constexpr float untouched = 12345.0f;
  std::vector<float> gradient(c.student.size() + 1, untouched);
  pyedge::cosine_match_gradient(c.teacher, s.data(), t.data(), map, factors.data(),
                                gradient.data());
  CHECK_AT(gradient.back() == untouched, where);
  for (std::int64_t n = 0; n < c.teacher.n; ++n) {
    const auto& f = factors[static_cast<std::size_t>(n)];
    for (std::int64_t j = 0; j < c.width(); ++j) {
      for (std::int64_t p = 0; p < c.teacher.hw; ++p) {
        const std::size_t i = c.student_at(n, j, p);
        const double x = c.teachers[0][c.teacher_at(n, c.kept[static_cast<std::size_t>(j)], p)];
        const double want = f.teacher * x + f.student * c.student[i];
        // Rounded once to float; fused or not, the float64 before it differs in its last bit.
        CHECK_AT(std::fabs(gradient[i] - want) <= 6.1e-8 * std::fabs(want) + 1e-15, where);
      }
    }
  }
}

}  // namespace

TEST(cosine_match_sizes_about_the_vector) {
  std::mt19937 random(3);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      for (const int channels : check::awkward_sizes()) {
        for (const int hw : check::awkward_sizes()) {
          const int k = 1 + (channels + hw) % 6;
          const Case c = make_case({2, channels, hw, layout}, k, random);
          const std::string where = isa + " c" + std::to_string(channels) + " hw" +
                                    std::to_string(hw) + " k" + std::to_string(k) +
                                    (layout == Layout::nchw ? " nchw" : " channels-last");
          check_sums(c, static_cast<std::size_t>(hw) % 4, where);
          check_gradient(c, static_cast<std::size_t>(hw) % 4, where);
        }
      }
    }
  });
}

TEST(cosine_match_shapes_split_over_pieces) {
  std::mt19937 random(4);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      for (const Shape& shape : {Shape{1, 70, 2100, layout}, Shape{2, 2100, 33, layout}}) {
        const Case c = make_case(shape, 3, random);
        check_sums(c, 1, isa);
        check_gradient(c, 1, isa);
      }
    }
  });
}

TEST(cosine_match_more_teachers_than_fit_at_once) {
  std::mt19937 random(5);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      check_sums(make_case({2, 19, 21, layout}, 19, random), 0, isa);
    }
  });
}

TEST(cosine_match_same_bits_from_any_number_of_threads) {
  std::mt19937 random(6);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      const Case c = make_case({3, 96, 1100, layout}, 2, random);
      pyedge::set_num_threads(1);
      const std::vector<double> one = sums_of(c);
      for (const int threads : {2, 3, 5}) {
        pyedge::set_num_threads(threads);
        CHECK_AT(sums_of(c) == one, isa);
      }
    }
  });
  pyedge::set_num_threads(2);
}

TEST(cosine_match_equal_maps_are_at_distance_zero) {
  std::mt19937 random(7);
  check::on_each_isa([&](const std::string& isa) {
    for (const Layout layout : {Layout::nchw, Layout::channels_last}) {
      Case c = make_case({2, 37, 53, layout}, 1, random);
      // The channels that the student lacks are zero in the teacher too.
      std::vector<float>& teacher = c.teachers[0];
      std::fill(teacher.begin(), teacher.end(), 0.0f);
      for (std::int64_t n = 0; n < 2; ++n) {
        for (std::int64_t j = 0; j < c.width(); ++j) {
          for (std::int64_t p = 0; p < 53; ++p) {
            teacher[c.teacher_at(n, c.kept[static_cast<std::size_t>(j)], p)] =
                c.student[c.student_at(n, j, p)];
          }
        }
      }
      const std::vector<double> sums = sums_of(c);
      const pyedge::Match match = pyedge::match_from_sums(sums[0], sums[1], sums[2]);
      CHECK_AT(match.cosine == 1.0 && match.distance == 0.0, isa);
      const pyedge::GradientFactors factors = pyedge::gradient_factors(match, 1.0);
      CHECK_AT(factors.teacher == 0.0 && factors.student == 0.0, isa);
    }
  });
}

TEST(cosine_match_zero_maps_have_a_defined_result) {
  const pyedge::Match match = pyedge::match_from_sums(0.0, 4.0, 0.0);
  CHECK(match.cosine == 0.0 && match.distance == std::sqrt(2.0));
  CHECK(match.teacher_norm == 2.0 && match.student_norm == 0.0);
  CHECK(pyedge::gradient_factors(match, 1.0).teacher == 0.0);
  CHECK(pyedge::gradient_factors(pyedge::match_from_sums(0.0, 0.0, 4.0), 1.0).student == 0.0);
}

TEST(channel_map_refuses_what_does_not_rise) {
  const pyedge::KernelTable& table = pyedge::kernel_table();
  for (const std::vector<std::int64_t>& kept :
       {std::vector<std::int64_t>{1, 1}, {2, 1}, {-1, 2}, {0, 5}}) {
    bool refused = false;
    try {
      const ChannelMap map(kept.data(), 2, 5, table);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
  }
}
