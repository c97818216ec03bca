// cosine_match and cosine_match_gradient.
#include "kernels/match/cosine_match.hpp"

#include <pybind11/stl.h>

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include "kernels/dispatch/dispatch.hpp"
#include "python/arrays.hpp"
#include "python/checks.hpp"
#include "python/recycled.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;
using pyedge::ChannelMap;
using pyedge::Layout;
using pyedge::Shape;

namespace {

// The layout that all maps share. A map that fits both (c = 1 or h w = 1) follows the others.
Layout common_layout(const FloatArray& student, const std::vector<FloatArray>& teachers) {
  bool nchw = shape_of(student, "student", Layout::nchw).layout == Layout::nchw;
  bool last = shape_of(student, "student", Layout::channels_last).layout == Layout::channels_last;
  for (const FloatArray& teacher : teachers) {
    nchw &= shape_of(teacher, "teacher", Layout::nchw).layout == Layout::nchw;
    last &= shape_of(teacher, "teacher", Layout::channels_last).layout == Layout::channels_last;
  }
  if (!nchw && !last) {
    throw py::type_error(
        "_core: student and teachers: wanted one memory layout, got NCHW and channels-last");
  }
  return nchw ? Layout::nchw : Layout::channels_last;
}

Shape teacher_shape(const FloatArray& student, const std::vector<FloatArray>& teachers) {
  require(!teachers.empty(), "_core: teachers: wanted at least one, got none");
  const Layout layout = common_layout(student, teachers);
  const Shape s = shape_of(student, "student", layout);
  const Shape shape = shape_of(teachers[0], "teacher", layout);
  for (const FloatArray& teacher : teachers) {
    const Shape t = shape_of(teacher, "teacher", layout);
    if (t.n != s.n || t.hw != s.hw || t.c != shape.c) {
      refuse("_core: teachers", "maps as " + described(student) + " and of one number of channels",
             described(teacher));
    }
  }
  return shape;
}

ChannelMap channel_map(const FloatArray& student, const Shape& teacher,
                       const std::optional<IndexArray>& kept) {
  if (kept) require_shape(*kept, "_core: kept", {student.shape(1)});
  return {kept ? kept->data() : nullptr, student.shape(1), teacher.c, pyedge::kernel_table()};
}

// A sum of squares that is not finite comes from a NaN or an infinity in that map.
void require_finite(const double* sums, std::int64_t images, std::int64_t k) {
  for (std::int64_t image = 0; image < images; ++image, sums += 2 * k + 1) {
    for (std::int64_t i = k; i <= 2 * k; ++i) {
      if (std::isfinite(sums[i])) continue;
      const std::string name = i == 2 * k ? "student" : "teachers[" + std::to_string(i - k) + "]";
      refuse("cosine_match: " + name, "finite numbers",
             "NaN or infinity in image " + std::to_string(image));
    }
  }
}

// -> cosine, teacher_norm [k, groups], student_norm [groups], distance [k, groups], where a group
// is an image, or the whole batch.
py::tuple cosine_match(const FloatArray& student, const std::vector<FloatArray>& teachers,
                       const std::optional<IndexArray>& kept, bool by_image) {
  const Shape shape = teacher_shape(student, teachers);
  const ChannelMap map = channel_map(student, shape, kept);
  const auto k = static_cast<std::int64_t>(teachers.size());
  const pyedge::MatchPlan plan(shape, k);
  std::vector<double> sums(static_cast<std::size_t>(plan.sums()));
  std::vector<const float*> from;
  for (const FloatArray& teacher : teachers) from.push_back(teacher.data());
  const float* s = student.data();
  {
    const WithoutGil released;
    pyedge::cosine_match(shape, s, from.data(), k, map, plan, sums.data());
  }
  require_finite(sums.data(), shape.n, k);
  const std::int64_t groups = by_image ? shape.n : 1;
  if (!by_image) {
    std::vector<double> total(static_cast<std::size_t>(plan.sums_per_piece));
    for (std::int64_t image = 0; image < shape.n; ++image) {
      for (std::size_t i = 0; i < total.size(); ++i) {
        total[i] += sums[static_cast<std::size_t>(image) * total.size() + i];
      }
    }
    sums = total;
  }
  DoubleArray cosine({k, groups}), teacher_norm({k, groups}), distance({k, groups});
  DoubleArray student_norm(groups);
  for (std::int64_t group = 0; group < groups; ++group) {
    const double* sum = sums.data() + group * plan.sums_per_piece;
    student_norm.mutable_at(group) = std::sqrt(sum[2 * k]);
    for (std::int64_t q = 0; q < k; ++q) {
      const pyedge::Match match = pyedge::match_from_sums(sum[q], sum[k + q], sum[2 * k]);
      cosine.mutable_at(q, group) = match.cosine;
      teacher_norm.mutable_at(q, group) = match.teacher_norm;
      distance.mutable_at(q, group) = match.distance;
    }
  }
  return py::make_tuple(cosine, teacher_norm, student_norm, distance);
}

// cosine, teacher_norm, student_norm: [1] for the batch or [n]. Writes into `gradient`, which has
// the student's shape and memory.
void cosine_match_gradient(const FloatArray& student, const FloatArray& teacher,
                           const std::optional<IndexArray>& kept, const DoubleArray& cosine,
                           const DoubleArray& teacher_norm, const DoubleArray& student_norm,
                           double scale, FloatArray& gradient) {
  const Shape shape = teacher_shape(student, {teacher});
  const Shape out = shape_of(gradient, "gradient", shape.layout);
  if (out.n != shape.n || out.c != student.shape(1) || out.hw != shape.hw ||
      out.layout != shape.layout) {
    refuse("_core.cosine_match_gradient: gradient", "an array like student, " + described(student),
           described(gradient));
  }
  const py::ssize_t groups = cosine.size();
  if ((groups != 1 && groups != shape.n) || teacher_norm.size() != groups ||
      student_norm.size() != groups) {
    refuse("_core.cosine_match_gradient: cosine and norms",
           "one number for the batch or for each image",
           described(cosine) + ", " + described(teacher_norm) + " and " + described(student_norm));
  }
  const ChannelMap map = channel_map(student, shape, kept);
  std::vector<pyedge::GradientFactors> factors;
  for (py::ssize_t image = 0; image < shape.n; ++image) {
    const py::ssize_t group = groups == 1 ? 0 : image;
    const double cos = cosine.data()[group];
    factors.push_back(pyedge::gradient_factors(
        {cos, std::sqrt(2.0 - 2.0 * cos), teacher_norm.data()[group], student_norm.data()[group]},
        scale));
  }
  const float *s = student.data(), *t = teacher.data();
  float* to = gradient.mutable_data();
  {
    const WithoutGil released;
    pyedge::cosine_match_gradient(shape, s, t, map, factors.data(), to);
  }
}

}  // namespace

void register_cosine_match(py::module_& module) {
  module.def("cosine_match", &cosine_match, py::arg("student").noconvert(), py::arg("teachers"),
             py::arg("kept").noconvert(), py::arg("by_image"));
  module.def("empty_like", &recycled_like, py::arg("like").noconvert());
  module.def("cosine_match_gradient", &cosine_match_gradient, py::arg("student").noconvert(),
             py::arg("teacher").noconvert(), py::arg("kept").noconvert(),
             py::arg("cosine").noconvert(), py::arg("teacher_norm").noconvert(),
             py::arg("student_norm").noconvert(), py::arg("scale"),
             py::arg("gradient").noconvert());
}
