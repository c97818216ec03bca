// One register_* function for each bind_*.cpp.
#pragma once

#include <pybind11/pybind11.h>

void register_engine(pybind11::module_& module);
void register_runtime(pybind11::module_& module);
void register_plain_sum(pybind11::module_& module);
void register_zero_count(pybind11::module_& module);
void register_cosine_match(pybind11::module_& module);
void register_second_moments(pybind11::module_& module);
