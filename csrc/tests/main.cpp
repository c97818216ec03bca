// Runs every registered test, or those whose name holds the first argument.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <iterator>
#include <limits>

#include "check.hpp"
#include "kernels/dispatch/dispatch.hpp"

namespace check {
namespace {

int failures = 0;

}  // namespace

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

void fail(const char* file, int line, const std::string& what) {
  ++failures;
  if (failures <= 20) std::printf("%s:%d: %s\n", file, line, what.c_str());
}

const std::vector<int>& awkward_sizes() {
  static const std::vector<int> sizes{0, 1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64};
  return sizes;
}

std::vector<float> normal_floats(std::size_t count, std::mt19937& random) {
  std::normal_distribution<float> normal;
  std::vector<float> values(count);
  for (float& value : values) value = normal(random);
  return values;
}

std::vector<float> awkward_floats(std::size_t count, std::mt19937& random) {
  using limits = std::numeric_limits<float>;
  const float special[] = {0.0f,
                           -0.0f,
                           0.0f,
                           limits::denorm_min(),
                           -limits::denorm_min(),
                           limits::min(),
                           limits::max(),
                           limits::infinity(),
                           -limits::infinity(),
                           limits::quiet_NaN()};
  std::vector<float> values = normal_floats(count, random);
  for (float& value : values) {
    if (random() % 2 == 0) value = special[random() % std::size(special)];
  }
  return values;
}

void on_each_isa(const std::function<void(const std::string&)>& body) {
  const std::string before = pyedge::kernel_table().name;
  for (const std::string& isa : pyedge::available_isas()) {
    pyedge::set_isa(isa);
    body(isa);
  }
  pyedge::set_isa(before);
}

}  // namespace check

int main(int argc, char** argv) {
  int run = 0;
  for (const check::Test& test : check::tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    const int before = check::failures;
    try {
      test.run();
    } catch (const std::exception& error) {
      check::fail(test.name, 0, std::string("threw ") + error.what());
    }
    std::printf("%s %s\n", check::failures == before ? "ok  " : "FAIL", test.name);
    ++run;
  }
  std::string isas;
  for (const std::string& isa : pyedge::available_isas()) isas += " " + isa;
  std::printf("%d tests, %d failed checks, paths:%s\n", run, check::failures, isas.c_str());
  return check::failures == 0 && run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
