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

// A pixel's last channels: the elements behind them are another pixel's, or no memory at all.
template <typename From>
inline Vec::Float load_part(const typename From::Element* p, std::int64_t count) {
  typename From::Element part[Vec::lanes] = {};
  for (std::int64_t i = 0; i < count; ++i) part[i] = p[i];
  return From::load(part);
}

// Calls body(at, c, t): floats from the map's start, channel, and the teacher's vector there.
template <typename From, typename Body>
inline void each_vector(const void* data, std::int64_t pixels, std::int64_t c, std::int64_t stride,
                        const Body& body) {
  const auto* t = static_cast<const typename From::Element*>(data);
  const std::int64_t whole = c / Vec::lanes * Vec::lanes;
  for (std::int64_t p = 0; p < pixels; ++p, t += c) {
    for (std::int64_t i = 0; i < whole; i += Vec::lanes) body(p * stride + i, i, From::load(t + i));
    if (whole < c) body(p * stride + whole, whole, load_part<From>(t + whole, c - whole));
  }
}

template <typename Body>
inline void each_teacher_vector(const pyedge::TeacherMap& teacher, std::int64_t pixels,
                                std::int64_t c, std::int64_t stride, const Body& body) {
  switch (teacher.type) {
    case pyedge::MapType::float32:
      return each_vector<FromFloat>(teacher.data, pixels, c, stride, body);
    case pyedge::MapType::float16:
      return each_vector<FromHalf>(teacher.data, pixels, c, stride, body);
    case pyedge::MapType::int8:
      return each_vector<FromInt8>(teacher.data, pixels, c, stride, body);
  }
}

// <t, s>, in float64 (in float32, 2 - 2 cos is 9 % off at distance 1e-3)
double map_dot(const pyedge::ImageView& student, const pyedge::TeacherMap& teacher,
               std::int64_t c) {
  const LensVectors look(student.lens);
  Vec::Wide sum[Vec::wide_parts];
  for (Vec::Wide& part : sum) part = Vec::no_sum();
  each_teacher_vector(teacher, student.h * student.w, c, student.stride,
                      [&](std::int64_t at, std::int64_t channel, Vec::Float t) {
                        Vec::add_products(sum, look(Vec::load(student.data + at), channel), t);
                      });
  double total = 0.0;
  for (const Vec::Wide& part : sum) total += Vec::sum(part);
  return total * static_cast<double>(teacher.scale);
}

// <s, s>; the padding is zero through any lens that keeps zero: its scale and shift are zero there
double map_square(const pyedge::ImageView& student) {
  const LensVectors look(student.lens);
  Vec::Wide sum[Vec::wide_parts];
  for (Vec::Wide& part : sum) part = Vec::no_sum();
  const float* x = student.data;
  for (std::int64_t p = 0; p < student.h * student.w; ++p, x += student.stride) {
    for (std::int64_t c = 0; c < student.stride; c += Vec::lanes) {
      const Vec::Float s = look(Vec::load(x + c), c);
      Vec::add_products(sum, s, s);
    }
  }
  double total = 0.0;
  for (const Vec::Wide& part : sum) total += Vec::sum(part);
  return total;
}

// finish takes by_teacher * t + by_student * s, the gradient of J_b; in float32, where the two
// terms cancel no more than the distance itself has digits
void map_gradient(const pyedge::ImageView& student, const pyedge::TeacherMap& teacher,
                  std::int64_t c, float by_teacher, float by_student,
                  const pyedge::Finish& finish) {
  const LensVectors look(student.lens);
  const FinishVectors put(finish);
  const Vec::Float a = Vec::splat(by_teacher * teacher.scale), b = Vec::splat(by_student);
  each_teacher_vector(teacher, student.h * student.w, c, student.stride,
                      [&](std::int64_t at, std::int64_t channel, Vec::Float t) {
                        const Vec::Float s = look(Vec::load(student.data + at), channel);
                        put(Vec::fma(t, a, Vec::mul(s, b)), at - channel, channel);
                      });
}

}  // namespace
