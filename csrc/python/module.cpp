// pyedge._core: what pyedge/kernels.py, and nothing else, imports.
#include "python/register.hpp"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The C++ kernels of pyedge. Use pyedge.kernels, which checks its arguments.";
  register_runtime(module);
  register_plain_sum(module);
  register_zero_count(module);
  register_cosine_match(module);
  register_second_moments(module);
  register_engine(module);
}
