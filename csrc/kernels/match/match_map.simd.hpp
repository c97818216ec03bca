// The match of a student's map with a teacher's as a knowledge pack holds it: cut to the student's
// channels, float32, float16 or int8, pixels without padding (paper Sec. 4.1, Eq. 3 and 4).
#pragma once

#include <cstdint>

#include "kernels/layers/layers.hpp"

namespace {

// Sums of products in float64. Loops over the maps are unrolled, here and below: GCC keeps an array
// in registers where it knows each index, and else stored every sum for each vector.
template <int count>
struct WideSums {
  Vec::Wide sum[count][Vec::wide_parts];

  WideSums() {
#pragma GCC unroll 5
    for (auto& parts : sum) {
#pragma GCC unroll 5
      for (Vec::Wide& part : parts) part = Vec::no_sum();
    }
  }
  void add(int k, Vec::Float a, Vec::Float b) {
    Vec::Wide x[Vec::wide_parts], y[Vec::wide_parts];
    Vec::widen_all(x, a);
    Vec::widen_all(y, b);
#pragma GCC unroll 5
    for (int i = 0; i < Vec::wide_parts; ++i) sum[k][i] = Vec::fma(x[i], y[i], sum[k][i]);
  }
  double total(int k) const {
    double all = 0.0;
#pragma GCC unroll 5
    for (const Vec::Wide& part : sum[k]) all += Vec::sum(part);
    return all;
  }
};

struct FromFloat {
  using Element = float;
  static Vec::Float load(const float* p) { return Vec::load(p); }
};
struct FromHalf {
  using Element = std::uint16_t;
  static Vec::Float load(const std::uint16_t* p) { return Vec::load_half(p); }
};
struct FromInt8 {
  using Element = std::int8_t;
  static Vec::Float load(const std::int8_t* p) { return Vec::load_int8(p); }
};

// Maps of a pack come from memory, several at once, and faster when asked for this far ahead. What
// lies behind a map is asked for too, which harms nothing.
template <typename Element>
inline void fetch_ahead(const Element* p) {
  constexpr std::int64_t bytes = 3072;
  __builtin_prefetch(reinterpret_cast<const char*>(p) + bytes);
}

// The last vector of a pixel: behind the student's channels lie other pixels', or, `at_end` of the
// map, no memory at all.
template <typename From>
inline Vec::Float load_part(const typename From::Element* p, int count, bool at_end) {
  if (!at_end) return Vec::keep_first(From::load(p), count);
  // Not `count` turns: GCC makes a call of memcpy of those, around which sums leave their
  // registers.
  typename From::Element part[Vec::lanes];
#pragma GCC unroll 4
  for (int i = 0; i < Vec::lanes; ++i) {
    part[i] = i < count ? p[i] : typename From::Element{};
  }
  return From::load(part);
}

// Sums for `blocks` maps at once, so that the student's map is read once for them all.
template <typename From, int blocks>
void sums_of(const pyedge::ImageView& student, const pyedge::TeacherMap* teachers, std::int64_t c,
             double* dots, double* square) {
  const LensVectors look(student.lens);
  WideSums<blocks + 1> sums;  // the last: the student's own
  const typename From::Element* t[blocks];
#pragma GCC unroll 5
  for (int k = 0; k < blocks; ++k) {
    t[k] = static_cast<const typename From::Element*>(teachers[k].data);
  }
  const std::int64_t pixels = student.h * student.w, whole = c - c % Vec::lanes;
  const float* x = student.data;
  for (std::int64_t p = 0; p < pixels; ++p, x += student.stride) {
    // the padding is zero through any lens: its scale and shift are zero there
    for (std::int64_t i = 0; i < whole; i += Vec::lanes) {
      const Vec::Float s = look(Vec::load(x + i), i);
      sums.add(blocks, s, s);
#pragma GCC unroll 5
      for (int k = 0; k < blocks; ++k) {
        fetch_ahead(t[k] + i);
        sums.add(k, s, From::load(t[k] + i));
      }
    }
    if (whole < c) {
      const Vec::Float s = look(Vec::load(x + whole), whole);
      sums.add(blocks, s, s);
#pragma GCC unroll 5
      for (int k = 0; k < blocks; ++k) {
        fetch_ahead(t[k] + whole);
        sums.add(k, s,
                 load_part<From>(t[k] + whole, static_cast<int>(c - whole),
                                 (pixels - p) * c - whole < Vec::lanes));
      }
    }
#pragma GCC unroll 5
    for (int k = 0; k < blocks; ++k) t[k] += c;
  }
  *square = sums.total(blocks);
#pragma GCC unroll 5
  for (int k = 0; k < blocks; ++k) {
    dots[k] = sums.total(k) * static_cast<double>(teachers[k].scale);
  }
}

template <typename From>
void sums_of_any(const pyedge::ImageView& student, const pyedge::TeacherMap* teachers,
                 std::int64_t blocks, std::int64_t c, double* dots, double* square) {
  for (; blocks >= 4; blocks -= 4, teachers += 4, dots += 4) {
    sums_of<From, 4>(student, teachers, c, dots, square);
  }
  if (blocks == 3) sums_of<From, 3>(student, teachers, c, dots, square);
  if (blocks == 2) sums_of<From, 2>(student, teachers, c, dots, square);
  if (blocks == 1) sums_of<From, 1>(student, teachers, c, dots, square);
}

// dots [blocks] <t, s> and square <s, s>, in float64 (in float32, 2 - 2 cos is 9 % off at distance
// 1e-3). All maps have the type of the first.
void map_sums(const pyedge::ImageView& student, const pyedge::TeacherMap* teachers,
              std::int64_t blocks, std::int64_t c, double* dots, double* square) {
  switch (teachers[0].type) {
    case pyedge::MapType::float32:
      return sums_of_any<FromFloat>(student, teachers, blocks, c, dots, square);
    case pyedge::MapType::float16:
      return sums_of_any<FromHalf>(student, teachers, blocks, c, dots, square);
    case pyedge::MapType::int8:
      return sums_of_any<FromInt8>(student, teachers, blocks, c, dots, square);
  }
}

template <typename From>
void gradient_of(const pyedge::ImageView& student, const pyedge::TeacherMap& teacher,
                 std::int64_t c, float by_teacher, float by_student, const pyedge::Finish& finish) {
  const LensVectors look(student.lens);
  const Vec::Float a = Vec::splat(by_teacher * teacher.scale), b = Vec::splat(by_student);
  const std::int64_t pixels = student.h * student.w, whole = c - c % Vec::lanes;
  with_finish(finish, [&](const auto& put) {
    const auto* t = static_cast<const typename From::Element*>(teacher.data);
    for (std::int64_t p = 0; p < pixels; ++p, t += c) {
      const auto add = [&](Vec::Float teacher_part, std::int64_t i) {
        Vec::Float y = Vec::mul(teacher_part, a);
        if (by_student != 0.0f) {
          y = Vec::fma(look(Vec::load(student.data + p * student.stride + i), i), b, y);
        }
        put(y, p * student.stride, i);
      };
      for (std::int64_t i = 0; i < whole; i += Vec::lanes) {
        fetch_ahead(t + i);
        add(From::load(t + i), i);
      }
      if (whole < c) {
        fetch_ahead(t + whole);
        add(load_part<From>(t + whole, static_cast<int>(c - whole),
                            (pixels - p) * c - whole < Vec::lanes),
            whole);
      }
    }
  });
}

// finish takes by_teacher * t + by_student * s, the gradient of J_b; in float32, where the two
// terms cancel no more than the distance itself has digits
void map_gradient(const pyedge::ImageView& student, const pyedge::TeacherMap& teacher,
                  std::int64_t c, float by_teacher, float by_student,
                  const pyedge::Finish& finish) {
  switch (teacher.type) {
    case pyedge::MapType::float32:
      return gradient_of<FromFloat>(student, teacher, c, by_teacher, by_student, finish);
    case pyedge::MapType::float16:
      return gradient_of<FromHalf>(student, teacher, c, by_teacher, by_student, finish);
    case pyedge::MapType::int8:
      return gradient_of<FromInt8>(student, teacher, c, by_teacher, by_student, finish);
  }
}

}  // namespace
