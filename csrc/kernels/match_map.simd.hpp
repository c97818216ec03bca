// The match of a student's map with a teacher's as a knowledge pack holds it: cut to the student's
// channels, float32, float16 or int8, pixels without padding (paper Sec. 4.1, Eq. 3 and 4).
#pragma once

#include <cstdint>

#include "kernels/layers.hpp"

namespace {

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

// The last vector of a pixel: behind the student's channels lie other pixels', or, `at_end` of the
// map, no memory at all.
template <typename From>
inline Vec::Float load_part(const typename From::Element* p, int count, bool at_end) {
  if (!at_end) return Vec::keep_first(From::load(p), count);
  typename From::Element part[Vec::lanes] = {};
  for (int i = 0; i < count; ++i) part[i] = p[i];
  return From::load(part);
}

// Sums for `blocks` maps at once, so that the student's map is read and widened once for them all.
template <typename From, int blocks>
void sums_of(const pyedge::ImageView& student, const pyedge::TeacherMap* teachers, std::int64_t c,
             double* dots, double* square) {
  const LensVectors look(student.lens);
  Vec::Wide dot[blocks][Vec::wide_parts], own[Vec::wide_parts];
  const typename From::Element* t[blocks];
  for (Vec::Wide& part : own) part = Vec::no_sum();
  for (int k = 0; k < blocks; ++k) {
    t[k] = static_cast<const typename From::Element*>(teachers[k].data);
    for (Vec::Wide& part : dot[k]) part = Vec::no_sum();
  }
  const std::int64_t pixels = student.h * student.w;
  const float* x = student.data;
  for (std::int64_t p = 0; p < pixels; ++p, x += student.stride) {
    for (std::int64_t i = 0; i < c; i += Vec::lanes) {
      // the padding is zero through any lens: its scale and shift are zero there
      Vec::Wide s[Vec::wide_parts];
      Vec::widen_all(s, look(Vec::load(x + i), i));
      for (int part = 0; part < Vec::wide_parts; ++part) {
        own[part] = Vec::fma(s[part], s[part], own[part]);
      }
      const std::int64_t left = c - i;
      for (int k = 0; k < blocks; ++k) {
        Vec::Wide v[Vec::wide_parts];
        Vec::widen_all(v, left >= Vec::lanes ? From::load(t[k] + i)
                                             : load_part<From>(t[k] + i, static_cast<int>(left),
                                                               (pixels - p) * c - i < Vec::lanes));
        for (int part = 0; part < Vec::wide_parts; ++part) {
          dot[k][part] = Vec::fma(s[part], v[part], dot[k][part]);
        }
      }
    }
    for (int k = 0; k < blocks; ++k) t[k] += c;
  }
  *square = 0.0;
  for (const Vec::Wide& part : own) *square += Vec::sum(part);
  for (int k = 0; k < blocks; ++k) {
    double total = 0.0;
    for (const Vec::Wide& part : dot[k]) total += Vec::sum(part);
    dots[k] = total * static_cast<double>(teachers[k].scale);
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
  const FinishVectors put(finish);
  const Vec::Float a = Vec::splat(by_teacher * teacher.scale), b = Vec::splat(by_student);
  const auto* t = static_cast<const typename From::Element*>(teacher.data);
  const std::int64_t pixels = student.h * student.w;
  for (std::int64_t p = 0; p < pixels; ++p, t += c) {
    for (std::int64_t i = 0; i < c; i += Vec::lanes) {
      const std::int64_t left = c - i;
      const Vec::Float v = left >= Vec::lanes ? From::load(t + i)
                                              : load_part<From>(t + i, static_cast<int>(left),
                                                                (pixels - p) * c - i < Vec::lanes);
      const Vec::Float s = look(Vec::load(student.data + p * student.stride + i), i);
      put(Vec::fma(v, a, Vec::mul(s, b)), p * student.stride, i);
    }
  }
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
