// cosine_match (paper Sec. 4, Eq. 3 and 4): the sums behind the cosine of a student's map and
// each candidate teacher's, and the gradient of the distance to the chosen one.
//
// Every product of two floats is exact in float64, and the three sums (s.s, t.t, t.s) take their
// terms in the same order: where t equals s they are equal to the last bit, so that the cosine is
// exactly 1 and the gradient exactly 0. The channels that the student lacks add to t.t alone.
#pragma once

#include <cstdint>

#include "kernels/dispatch/kernel_table.hpp"

namespace {

// Sums for K teachers at once: each value of the student is loaded and widened once for all.
// K = 4 takes 9 accumulators of the 16 registers of AVX2.
template <int K>
struct MatchSums {
  Vec::Wide dot[K], teacher[K], student;

  MatchSums() : student(Vec::no_sum()) {
    for (int q = 0; q < K; ++q) dot[q] = teacher[q] = Vec::no_sum();
  }
  void add(Vec::Wide s, const float* const (&t)[K], std::int64_t i) {
    student = Vec::fma(s, s, student);
    for (int q = 0; q < K; ++q) add_pair(q, s, Vec::widen(t[q] + i));
  }
  void add(Vec::Wide s, const float* const (&t)[K], std::int64_t i, int n) {
    student = Vec::fma(s, s, student);
    for (int q = 0; q < K; ++q) add_pair(q, s, Vec::widen(t[q] + i, n));
  }
  void add_teachers(const float* const (&t)[K], std::int64_t i) {
    for (int q = 0; q < K; ++q) add_teacher(q, Vec::widen(t[q] + i));
  }
  void add_teachers(const float* const (&t)[K], std::int64_t i, int n) {
    for (int q = 0; q < K; ++q) add_teacher(q, Vec::widen(t[q] + i, n));
  }
  void store(double* dots, double* teachers, double* student_sum) const {
    for (int q = 0; q < K; ++q) {
      dots[q] = Vec::sum(dot[q]);
      teachers[q] = Vec::sum(teacher[q]);
    }
    *student_sum = Vec::sum(student);
  }

 private:
  void add_teacher(int q, Vec::Wide t) { teacher[q] = Vec::fma(t, t, teacher[q]); }
  void add_pair(int q, Vec::Wide s, Vec::Wide t) {
    add_teacher(q, t);
    dot[q] = Vec::fma(t, s, dot[q]);
  }
};

// Floats to fetch ahead: 4 KB, since the hardware's own prefetch stops at each page. For the
// group of 128x160x32x32 on one core 22.1 ms, against 25.1 without. One teacher after another,
// with the student's piece in the L2, took 26.9: a single stream, but more instructions.
constexpr std::int64_t prefetch_distance = 1024;
constexpr int line_floats = 16;

template <int K>
inline void prefetch(const float* const (&t)[K], std::int64_t i) {
  for (int q = 0; q < K; ++q) __builtin_prefetch(t[q] + i + prefetch_distance);
}

// P is Vec; as a parameter it lets paths without hold_loads do without. It keeps GCC from taking
// the loads of all four steps at once: more than NEON's 32 registers hold beside 18 sums.
template <int K, typename P = Vec>
inline void add_row(MatchSums<K>& sums, const float* s, const float* const (&t)[K],
                    std::int64_t hw) {
  constexpr int lanes = Vec::wide_lanes;
  std::int64_t i = 0;
  for (; i + line_floats <= hw; i += line_floats) {
    prefetch(t, i);
    __builtin_prefetch(s + i + prefetch_distance);
    for (int j = 0; j < line_floats; j += lanes) {
      sums.add(Vec::widen(s + i + j), t, i + j);
      if constexpr (P::by_lane) P::hold_loads();
    }
  }
  for (; i + lanes <= hw; i += lanes) sums.add(Vec::widen(s + i), t, i);
  const int rest = static_cast<int>(hw - i);
  if (rest > 0) sums.add(Vec::widen(s + i, rest), t, i, rest);
}

// A row that the student lacks.
template <int K>
inline void add_row(MatchSums<K>& sums, const float* const (&t)[K], std::int64_t hw) {
  constexpr int lanes = Vec::wide_lanes;
  std::int64_t i = 0;
  for (; i + line_floats <= hw; i += line_floats) {
    prefetch(t, i);
    for (int j = 0; j < line_floats; j += lanes) sums.add_teachers(t, i + j);
  }
  for (; i + lanes <= hw; i += lanes) sums.add_teachers(t, i);
  const int rest = static_cast<int>(hw - i);
  if (rest > 0) sums.add_teachers(t, i, rest);
}

template <int K>
MatchSums<K> match_some(const pyedge::MatchRows& piece, const float* const* teachers) {
  MatchSums<K> sums;
  for (std::int64_t c = 0; c < piece.channels; ++c) {
    const float* t[K];
    for (int q = 0; q < K; ++q) t[q] = teachers[q] + c * piece.hw;
    const std::int32_t kept = piece.student_channel[c];
    if (kept < 0) {
      add_row(sums, t, piece.hw);
    } else {
      add_row(sums, piece.student + kept * piece.hw, t, piece.hw);
    }
  }
  return sums;
}

template <int K>
MatchSums<K> match_some(const pyedge::MatchPixels& piece, const float* const* teachers) {
  constexpr int lanes = Vec::wide_lanes;
  constexpr int line_steps = line_floats / lanes;
  const std::int64_t whole = piece.teacher_channels / lanes;
  const int rest = static_cast<int>(piece.teacher_channels - whole * lanes);
  MatchSums<K> sums;
  for (std::int64_t p = 0; p < piece.pixels; ++p) {
    const float* t[K];
    for (int q = 0; q < K; ++q) t[q] = teachers[q] + p * piece.teacher_channels;
    const float* s = piece.student + p * piece.student_channels;
    const auto expanded = [&](std::int64_t step) {
      const pyedge::LaneStep& at = piece.steps[step];
      return Vec::widen_expanded(s + at.student_channel, at.mask, at.count);
    };
    std::int64_t i = 0;
    for (; i + line_steps <= whole; i += line_steps) {
      prefetch(t, i * lanes);
      for (int j = 0; j < line_steps; ++j) sums.add(expanded(i + j), t, (i + j) * lanes);
    }
    for (; i < whole; ++i) sums.add(expanded(i), t, i * lanes);
    if (rest > 0) sums.add(expanded(whole), t, whole * lanes, rest);
  }
  return sums;
}

// Four teachers at a time; the student comes from the cache for those after the fourth.
template <typename Piece>
void match(const Piece& piece, double* sums) {
  const int k = piece.teacher_count;
  double* student = sums + 2 * k;
  for (int q = 0; q < k; q += 4) {
    const float* const* teachers = piece.teachers + q;
    double *dots = sums + q, *squares = sums + k + q;
    switch (k - q) {
      case 1:
        match_some<1>(piece, teachers).store(dots, squares, student);
        break;
      case 2:
        match_some<2>(piece, teachers).store(dots, squares, student);
        break;
      case 3:
        match_some<3>(piece, teachers).store(dots, squares, student);
        break;
      default:
        match_some<4>(piece, teachers).store(dots, squares, student);
    }
  }
}

void match_rows(const pyedge::MatchRows& piece, double* sums) {
  match(piece, sums);
}
void match_pixels(const pyedge::MatchPixels& piece, double* sums) {
  match(piece, sums);
}

void gradient_row(const float* teacher, const float* student, std::int64_t count,
                  pyedge::GradientFactors factors, float* gradient) {
  constexpr int lanes = Vec::wide_lanes;
  const Vec::Wide a = Vec::splat(factors.teacher), b = Vec::splat(factors.student);
  std::int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const Vec::Wide bs = Vec::mul(b, Vec::widen(student + i));
    Vec::narrow(gradient + i, Vec::fma(a, Vec::widen(teacher + i), bs));
  }
  if (const int rest = static_cast<int>(count - i); rest > 0) {
    const Vec::Wide bs = Vec::mul(b, Vec::widen(student + i, rest));
    Vec::narrow(gradient + i, Vec::fma(a, Vec::widen(teacher + i, rest), bs), rest);
  }
}

// Gathers the kept channels of a pixel into a strip on the stack, then treats it as a row.
void gradient_pixels(const float* teacher, const float* student, const pyedge::LaneStep* steps,
                     std::int64_t student_channels, std::int64_t teacher_channels,
                     std::int64_t pixels, pyedge::GradientFactors factors, float* gradient) {
  constexpr int lanes = Vec::wide_lanes;
  constexpr std::int64_t strip_steps = 64;
  float strip[(strip_steps + 1) * lanes];
  const std::int64_t whole = teacher_channels / lanes;
  const int rest = static_cast<int>(teacher_channels - whole * lanes);
  const std::int64_t step_count = whole + (rest > 0);
  for (std::int64_t p = 0; p < pixels; ++p) {
    const float* t = teacher + p * teacher_channels;
    for (std::int64_t begin = 0; begin < step_count; begin += strip_steps) {
      const std::int64_t end = begin + strip_steps < step_count ? begin + strip_steps : step_count;
      std::int64_t gathered = 0;
      for (std::int64_t i = begin; i < end; ++i) {
        if (i < whole) {
          Vec::compress(strip + gathered, t + i * lanes, steps[i].mask);
        } else {
          Vec::compress(strip + gathered, t + i * lanes, steps[i].mask, rest);
        }
        gathered += steps[i].count;
      }
      const std::int64_t at = p * student_channels + steps[begin].student_channel;
      gradient_row(strip, student + at, gathered, factors, gradient + at);
    }
  }
}

}  // namespace
