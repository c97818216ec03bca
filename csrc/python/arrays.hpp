// Arrays that cross from numpy without a copy.
//
// pyedge/kernels.py gives errors for people; here is only what memory safety rests on. Arguments
// are bound with .noconvert(), so that nothing is silently copied. Pointers are taken before the
// GIL is released: the caller's frame holds the arrays until the call returns.
#pragma once

#include <pybind11/numpy.h>

#include "kernels/match/maps.hpp"

using FloatArray = pybind11::array_t<float>;
using DoubleArray = pybind11::array_t<double, pybind11::array::c_style>;
using IndexArray = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

// The shape of an array [n, c, h, w] in either memory. Throws TypeError for any other memory.
// Where both fit (c = 1 or h w = 1), it is what `preferred` says.
pyedge::Shape shape_of(const FloatArray& maps, const char* name,
                       pyedge::Layout preferred = pyedge::Layout::nchw);
