// zero_count: the elements of each map that are zero (or that an affine and a ReLU would zero).
// A map is a row in NCHW and a column of channels in channels-last memory.
#pragma once

#include <cstdint>

namespace {

// The two questions asked of an element; `at(c)` fetches what the question needs for channel c.
struct IsZero {
  struct One {
    Vec::Count operator()(Vec::Count n, Vec::Float x) const { return Vec::add_zero(n, x); }
  };
  One row(std::int64_t) const { return {}; }
  One column(std::int64_t) const { return {}; }
  One column(std::int64_t, int) const { return {}; }
};

struct IsNotPositive {
  const float* scale;
  const float* shift;
  struct One {
    Vec::Float scale, shift;
    Vec::Count operator()(Vec::Count n, Vec::Float x) const {
      return Vec::add_not_positive(n, x, scale, shift);
    }
  };
  One row(std::int64_t c) const { return {Vec::splat(scale[c]), Vec::splat(shift[c])}; }
  One column(std::int64_t c) const { return {Vec::load(scale + c), Vec::load(shift + c)}; }
  One column(std::int64_t c, int n) const {
    return {Vec::load_or_nan(scale + c, n), Vec::load_or_nan(shift + c, n)};
  }
};

// Four counters, since one would make every addition wait for the one before it.
template <typename Question>
std::int32_t count_row(const float* x, std::int64_t hw, Question count) {
  constexpr int lanes = Vec::lanes;
  Vec::Count a = Vec::no_counts(), b = a, c = a, d = a;
  std::int64_t i = 0;
  for (; i + 4 * lanes <= hw; i += 4 * lanes) {
    a = count(a, Vec::load(x + i));
    b = count(b, Vec::load(x + i + lanes));
    c = count(c, Vec::load(x + i + 2 * lanes));
    d = count(d, Vec::load(x + i + 3 * lanes));
  }
  for (; i + lanes <= hw; i += lanes) a = count(a, Vec::load(x + i));
  // NaN is neither zero nor non-positive after any affine: the missing lanes count nothing.
  if (i < hw) b = count(b, Vec::load_or_nan(x + i, static_cast<int>(hw - i)));
  return Vec::sum(Vec::add(Vec::add(a, b), Vec::add(c, d)));
}

template <typename Question>
void count_rows(const float* x, std::int64_t rows, std::int64_t hw, Question question,
                std::int32_t* counts) {
  for (std::int64_t r = 0; r < rows; ++r) {
    counts[r] = count_row(x + r * hw, hw, question.row(r));
  }
}

// `pixels` is known to the compiler for the main loop, so that the counters stay in registers
// while it goes down the pixels.
template <typename Question>
inline void count_columns(const float* x, int pixels, std::int64_t stride, std::int64_t channels,
                          Question question, std::int32_t* counts) {
  constexpr int lanes = Vec::lanes;
  std::int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) {
    const auto count = question.column(c);
    Vec::Count n = Vec::load_counts(counts + c);
    for (int p = 0; p < pixels; ++p) n = count(n, Vec::load(x + p * stride + c));
    Vec::store_counts(counts + c, n);
  }
  if (const int rest = static_cast<int>(channels - c); rest > 0) {
    const auto count = question.column(c, rest);
    Vec::Count n = Vec::load_counts(counts + c, rest);
    for (int p = 0; p < pixels; ++p) n = count(n, Vec::load_or_nan(x + p * stride + c, rest));
    Vec::store_counts(counts + c, n, rest);
  }
}

template <typename Question>
void count_pixels(const float* x, std::int64_t pixels, std::int64_t stride, std::int64_t channels,
                  Question question, std::int32_t* counts) {
  constexpr int together = 8;
  for (std::int64_t c = 0; c < channels; ++c) counts[c] = 0;
  std::int64_t p = 0;
  for (; p + together <= pixels; p += together) {
    count_columns(x + p * stride, together, stride, channels, question, counts);
  }
  for (; p < pixels; ++p) count_columns(x + p * stride, 1, stride, channels, question, counts);
}

void zero_count_rows(const float* x, std::int64_t rows, std::int64_t hw, std::int32_t* counts) {
  count_rows(x, rows, hw, IsZero{}, counts);
}

void zero_count_affine_rows(const float* x, std::int64_t rows, std::int64_t hw, const float* scale,
                            const float* shift, std::int32_t* counts) {
  count_rows(x, rows, hw, IsNotPositive{scale, shift}, counts);
}

void zero_count_pixels(const float* x, std::int64_t pixels, std::int64_t stride,
                       std::int64_t channels, std::int32_t* counts) {
  count_pixels(x, pixels, stride, channels, IsZero{}, counts);
}

void zero_count_affine_pixels(const float* x, std::int64_t pixels, std::int64_t stride,
                              std::int64_t channels, const float* scale, const float* shift,
                              std::int32_t* counts) {
  count_pixels(x, pixels, stride, channels, IsNotPositive{scale, shift}, counts);
}

}  // namespace
