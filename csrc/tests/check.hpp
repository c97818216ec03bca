// The little that these tests need of a framework: a registry, a check, and inputs.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

namespace check {

struct Test {
  const char* name;
  void (*run)();
};

std::vector<Test>& tests();
void fail(const char* file, int line, const std::string& what);

struct Registration {
  Registration(const char* name, void (*run)()) { tests().push_back({name, run}); }
};

// Sizes about the widths of vectors: shorter, equal, longer, and a few with a tail.
const std::vector<int>& awkward_sizes();

// Floats with zeros of both signs, denormals and large values among them.
std::vector<float> awkward_floats(std::size_t count, std::mt19937& random);
std::vector<float> normal_floats(std::size_t count, std::mt19937& random);

// A copy that starts `offset` floats after an aligned address: vectors straddle their lines.
class Unaligned {
 public:
  Unaligned(const std::vector<float>& values, std::size_t offset) : storage_(offset) {
    storage_.insert(storage_.end(), values.begin(), values.end());
    offset_ = offset;
  }
  const float* data() const { return storage_.data() + offset_; }

 private:
  std::vector<float> storage_;
  std::size_t offset_;
};

// Runs body once on each path that this CPU has, and leaves the path in use as it was.
void on_each_isa(const std::function<void(const std::string&)>& body);

}  // namespace check

#define TEST(name)                                                \
  static void name();                                             \
  static const check::Registration register_##name(#name, &name); \
  static void name()

#define CHECK(condition) \
  if (!(condition)) check::fail(__FILE__, __LINE__, #condition)

// `where` says which input it was.
#define CHECK_AT(condition, where) \
  if (!(condition)) check::fail(__FILE__, __LINE__, std::string(#condition) + " at " + (where))
