// add_second_moments on every path, against a loop in whole numbers.
#include "kernels/sums/second_moments.hpp"

#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "threads/thread_pool.hpp"

namespace {

constexpr auto largest = static_cast<std::int32_t>(pyedge::largest_moment_value);

// Over the whole range, its ends among them, in a block that ends with them.
std::vector<std::int32_t> whole_numbers(std::int64_t count, std::mt19937& random) {
  std::uniform_int_distribution<std::int32_t> any(-largest, largest);
  std::vector<std::int32_t> values(static_cast<std::size_t>(count));
  for (std::int32_t& value : values) {
    const auto kind = random() % 8;
    value = kind == 0 ? largest : kind == 1 ? -largest : any(random);
  }
  return values;
}

void check_shape(std::int64_t n, std::int64_t f, std::mt19937& random, const std::string& isa) {
  const std::vector<std::int32_t> values = whole_numbers(n * f, random);
  std::vector<std::int64_t> want;
  for (std::int64_t i = 0; i < f; ++i) {
    for (std::int64_t j = i; j < f; ++j) {
      std::int64_t sum = 7 - i;
      for (std::int64_t row = 0; row < n; ++row) {
        sum += std::int64_t{values[static_cast<std::size_t>(row * f + i)]} *
               values[static_cast<std::size_t>(row * f + j)];
      }
      want.push_back(sum);
    }
  }
  for (const int threads : {1, 2, 3}) {
    pyedge::set_num_threads(threads);
    std::vector<std::int64_t> moments;
    for (std::int64_t i = 0; i < f; ++i) {
      for (std::int64_t j = i; j < f; ++j) moments.push_back(7 - i);
    }
    pyedge::add_second_moments(values.data(), n, f, moments.data());
    CHECK_AT(moments == want, isa + " n" + std::to_string(n) + " f" + std::to_string(f));
  }
}

}  // namespace

TEST(second_moments_sizes_about_the_tile) {
  std::mt19937 random(1);
  check::on_each_isa([&](const std::string& isa) {
    for (const std::int64_t n : {0, 1, 5, 33}) {
      for (const int f : check::awkward_sizes()) check_shape(n, f, random, isa);
      for (const std::int64_t f : {23, 24, 25, 47, 49}) check_shape(n, f, random, isa);
    }
  });
  pyedge::set_num_threads(2);
}

TEST(second_moments_of_many_rows_and_columns) {
  std::mt19937 random(2);
  check::on_each_isa([&](const std::string& isa) {
    check_shape(8193, 3, random, isa);
    check_shape(257, 42, random, isa);
    check_shape(11, 300, random, isa);
  });
  pyedge::set_num_threads(2);
}
