// add_second_moments. That values lie within their range is checked in pyedge/kernels.py; beyond it
// sums are wrong, and nothing worse.
#include "kernels/sums/second_moments.hpp"

#include "python/arrays.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;

namespace {

using WholeArray = py::array_t<std::int32_t, py::array::c_style>;

void add_second_moments(const WholeArray& values, IndexArray& moments) {
  require(values.ndim() == 2 && moments.ndim() == 1,
          "_core.add_second_moments: values must have 2 axes, moments 1");
  const std::int64_t n = values.shape(0), f = values.shape(1);
  require(moments.size() == f * (f + 1) / 2,
          "_core.add_second_moments: moments must be the upper triangle of values' columns");
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
