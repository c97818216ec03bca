// plain_sum: adds floats up as fast as they can be read.
#pragma once

#include <cstdint>

namespace {

float plain_sum(const float* x, std::int64_t count) {
  constexpr int lanes = Vec::lanes;
  Vec::Float a = Vec::splat(0.0f), b = a, c = a, d = a;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = Vec::add(a, Vec::load(x + i));
    b = Vec::add(b, Vec::load(x + i + lanes));
    c = Vec::add(c, Vec::load(x + i + 2 * lanes));
    d = Vec::add(d, Vec::load(x + i + 3 * lanes));
  }
  float sum = Vec::sum(Vec::add(Vec::add(a, b), Vec::add(c, d)));
  for (; i < count; ++i) sum += x[i];
  return sum;
}

}  // namespace
