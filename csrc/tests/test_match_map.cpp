// The match with a teacher's maps in float32, float16 and int8, on every path, against loops in
// float64. The maps' memory ends with their last number, as that of a mapped file does.
#include <cstring>

#include "kernels/dispatch/dispatch.hpp"
#include "kernels/layers/layers.hpp"
#include "maps.hpp"

using check::Map;
using check::Sum;
using pyedge::Lens;
using pyedge::MapType;
using pyedge::TeacherMap;

namespace {

// A teacher's map [pixels, c] of a type, and its numbers without the scale.
struct Teacher {
  MapType type;
  std::vector<float> floats;
  std::vector<std::uint16_t> halves;
  std::vector<std::int8_t> bytes;
  std::vector<double> values;
  float scale;

  Teacher(MapType kind, std::int64_t count, std::mt19937& random)
      : type(kind), scale(0.5f + static_cast<float>(random() % 8)) {
    std::normal_distribution<float> normal;
    for (std::int64_t i = 0; i < count; ++i) {
      if (type == MapType::int8) {
        bytes.push_back(static_cast<std::int8_t>(static_cast<int>(random() % 256) - 128));
        values.push_back(bytes.back());
      } else if (type == MapType::float16) {
        halves.push_back(half(random));
        values.push_back(of_half(halves.back()));
      } else {
        floats.push_back(normal(random));
        values.push_back(floats.back());
      }
    }
  }
  // Finite halves of every kind: both signs, denormals, zeros.
  static std::uint16_t half(std::mt19937& random) {
    const unsigned sign = random() % 2 << 15, exponent = random() % 4 == 0 ? 0 : 10 + random() % 8;
    return static_cast<std::uint16_t>(sign | exponent << 10 | random() % 1024);
  }
  static double of_half(std::uint16_t bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const double magnitude =
        exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
  }
  TeacherMap map() const {
    if (type == MapType::int8) return {bytes.data(), type, scale};
    if (type == MapType::float16) return {halves.data(), type, scale};
    return {floats.data(), type, scale};
  }
};

struct MatchCase {
  Map student;
  std::vector<float> gain, shift;
  std::vector<Lens> lenses;
  std::vector<Teacher> teachers;

  MatchCase(std::int64_t c, std::int64_t h, std::int64_t w, int blocks, MapType type,
            std::mt19937& random)
      : student(1, h, w, c, pyedge::kernel_table().lanes),
        gain(check::by_channel(student, 1.0f, random)),
        shift(check::by_channel(student, 0.0f, random)),
        lenses(2) {
    student.fill(random);
    lenses[1].scale = gain.data();
    lenses[1].shift = shift.data();
    lenses[1].low = 0.0f;
    for (int k = 0; k < blocks; ++k) teachers.emplace_back(type, h * w * c, random);
  }
  pyedge::ImageView view(const Lens& lens) const {
    return {student.data(), student.h, student.w, student.stride, lens};
  }
  double teacher(int k, std::int64_t y, std::int64_t x, std::int64_t c) const {
    const Teacher& t = teachers[static_cast<std::size_t>(k)];
    return t.scale * t.values[static_cast<std::size_t>((y * student.w + x) * student.c + c)];
  }
};

template <typename Body>
void on_each_match(int most_blocks, const Body& body) {
  check::on_each_isa([&](const std::string& isa) {
    std::mt19937 random(5);
    for (const MapType type : {MapType::float32, MapType::float16, MapType::int8}) {
      for (const int c : check::awkward_sizes()) {
        if (c == 0) continue;
        const int blocks = 1 + c % most_blocks;
        const MatchCase match(c, 2, 1 + c % 3, blocks, type, random);
        const std::string where = isa + " c" + std::to_string(c) + " type " +
                                  std::to_string(static_cast<int>(type)) + " blocks " +
                                  std::to_string(blocks);
        for (const Lens& lens : match.lenses) body(match, lens, where);
      }
    }
  });
}

}  // namespace

TEST(map_sums_are_exact_to_float64) {
  on_each_match(6, [](const MatchCase& match, const Lens& lens, const std::string& where) {
    const auto blocks = static_cast<std::int64_t>(match.teachers.size());
    std::vector<TeacherMap> maps;
    for (const Teacher& teacher : match.teachers) maps.push_back(teacher.map());
    std::vector<double> dots(match.teachers.size());
    double square = -1.0;
    pyedge::kernel_table().map_sums(match.view(lens), maps.data(), blocks, match.student.c,
                                    dots.data(), &square);
    // what the lens shows is rounded to float32 once or twice; the sums are not
    const double tolerance = lens.plain() ? 1e-14 : 3e-7;
    Sum own;
    match.student.each([&](auto, auto y, auto x, auto c) {
      const double s = check::look(lens, match.student.get(0, y, x, c), c);
      own.add(s * s);
    });
    CHECK_AT(std::abs(square - own.value) <= tolerance * own.size, where);
    for (int k = 0; k < static_cast<int>(blocks); ++k) {
      Sum dot;
      match.student.each([&](auto, auto y, auto x, auto c) {
        dot.add(check::look(lens, match.student.get(0, y, x, c), c) * match.teacher(k, y, x, c));
      });
      // a norm's result near 0 has lost more of its digits than its own size tells
      const double size = lens.plain() ? dot.size : dot.size + std::sqrt(own.value);
      CHECK_AT(std::abs(dots[static_cast<std::size_t>(k)] - dot.value) <= tolerance * size, where);
    }
  });
}

TEST(map_gradient_is_a_sum_of_teacher_and_student) {
  on_each_match(1, [](const MatchCase& match, const Lens& lens, const std::string& where) {
    const float by_teacher = -0.75f, by_student = 0.3f;
    for (const bool accumulate : {false, true}) {
      Map out = match.student;
      pyedge::Finish finish{out.data(), out.w * out.stride, out.stride};
      finish.accumulate = accumulate;
      pyedge::kernel_table().map_gradient(match.view(lens), match.teachers[0].map(),
                                          match.student.c, by_teacher, by_student, finish);
      out.each([&](auto, auto y, auto x, auto c) {
        const float own = match.student.get(0, y, x, c);
        Sum sum;
        sum.add(static_cast<double>(by_teacher) * match.teacher(0, y, x, c));
        sum.add(static_cast<double>(by_student) * check::look(lens, own, c));
        if (accumulate) sum.add(own);
        sum.size += std::abs(own) + 1.0;  // of the lens's own terms
        CHECK_AT(sum.near(out(0, y, x, c), 5e-7), where);
      });
      CHECK_AT(out.padding_is_zero(), where);
    }
  });
}
