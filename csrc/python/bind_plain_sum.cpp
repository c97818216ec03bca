// plain_sum, for the benchmarks.
#include "kernels/sums/plain_sum.hpp"
#include "python/arrays.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;

namespace {

double plain_sum(const FloatArray& x) {
  shape_of(x, "x");
  const float* from = x.data();
  const py::ssize_t count = x.size();
  const WithoutGil released;
  return pyedge::plain_sum(from, count);
}

}  // namespace

void register_plain_sum(py::module_& module) {
  module.def("plain_sum", &plain_sum, py::arg("x").noconvert());
}
