// zero_count and zero_count_affine.
#include "kernels/sums/zero_count.hpp"

#include "python/arrays.hpp"
#include "python/checks.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;

namespace {

using Counts = py::array_t<std::int32_t>;

Counts zero_count(const FloatArray& x) {
  const pyedge::Shape shape = shape_of(x, "x");
  Counts counts({shape.n, shape.c});
  const float* from = x.data();
  std::int32_t* to = counts.mutable_data();
  {
    const WithoutGil released;
    pyedge::zero_count(shape, from, to);
  }
  return counts;
}

Counts zero_count_affine(const FloatArray& x, const FloatArray& scale, const FloatArray& shift) {
  const pyedge::Shape shape = shape_of(x, "x");
  for (const FloatArray* factors : {&scale, &shift}) {
    require_shape(*factors, "_core.zero_count_affine: scale and shift", {shape.c});
    require(shape.c < 2 || factors->strides(0) == sizeof(float),
            "_core.zero_count_affine: scale and shift: wanted contiguous memory, got strides");
  }
  Counts counts({shape.n, shape.c});
  const float *from = x.data(), *scales = scale.data(), *shifts = shift.data();
  std::int32_t* to = counts.mutable_data();
  {
    const WithoutGil released;
    pyedge::zero_count_affine(shape, from, scales, shifts, to);
  }
  return counts;
}

}  // namespace

void register_zero_count(py::module_& module) {
  module.def("zero_count", &zero_count, py::arg("x").noconvert());
  module.def("zero_count_affine", &zero_count_affine, py::arg("x").noconvert(),
             py::arg("scale").noconvert(), py::arg("shift").noconvert());
}
