// add_second_moments. That values lie within their range is checked in pyedge/kernels.py; beyond it
// sums are wrong, and nothing worse.
#include "kernels/sums/second_moments.hpp"

#include "python/arrays.hpp"
#include "python/checks.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;

namespace {

using WholeArray = py::array_t<std::int32_t, py::array::c_style>;

void add_second_moments(const WholeArray& values, IndexArray& moments) {
  if (values.ndim() != 2) refuse("_core.add_second_moments: values", "2 axes", described(values));
  const std::int64_t n = values.shape(0), f = values.shape(1);
  require_shape(moments, "_core.add_second_moments: moments", {f * (f + 1) / 2});
  const std::int32_t* from = values.data();
  std::int64_t* to = moments.mutable_data();  // throws where it is not writeable
  const WithoutGil released;
  pyedge::add_second_moments(from, n, f, to);
}

}  // namespace

void register_second_moments(py::module_& module) {
  module.attr("largest_moment_value") = pyedge::largest_moment_value;
  module.def("add_second_moments", &add_second_moments, py::arg("values").noconvert(),
             py::arg("moments").noconvert());
}
