// Instruction sets and threads. Both environment variables are read at import, so that a wrong
// one is an ImportError with a reason.
#include <pybind11/stl.h>

#include "kernels/dispatch/dispatch.hpp"
#include "python/register.hpp"
#include "threads/cpu_clusters.hpp"
#include "threads/thread_pool.hpp"

namespace py = pybind11;

void register_runtime(py::module_& module) {
  pyedge::kernel_table();
  pyedge::num_threads();
  module.def("cpus", [] {
    const pyedge::CpuClusters& clusters = pyedge::cpu_clusters();
    py::list cpus;
    for (const pyedge::Cpu& cpu : clusters.cpus) {
      cpus.append(py::make_tuple(cpu.number, cpu.capacity));
    }
    return py::make_tuple(cpus, clusters.big, clusters.source);
  });
  module.def("isa", [] { return pyedge::kernel_table().name; });
  module.def("half_type", []() -> py::object {
    const pyedge::HalfKernels* half = pyedge::half_kernels(pyedge::kernel_table());
    if (half == nullptr) return py::none();
    return py::str(half->type);
  });
  module.def("int8_type", []() -> py::object {
    const pyedge::Int8Kernels* int8 = pyedge::int8_kernels(pyedge::kernel_table());
    if (int8 == nullptr) return py::none();
    return py::str(int8->type);
  });
  module.def("available_isas", &pyedge::available_isas);
  module.def("set_isa", &pyedge::set_isa, py::arg("name"));
  module.def("num_threads", &pyedge::num_threads);
  module.def("set_num_threads", &pyedge::set_num_threads, py::arg("count"));
}
