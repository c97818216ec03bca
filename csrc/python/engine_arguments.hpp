// Images and a teacher's maps as numpy arrays, checked, as the engine reads them where they lie.
#pragma once

#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "engine/engine.hpp"
#include "python/arrays.hpp"

using ContiguousFloats = pybind11::array_t<float, pybind11::array::c_style>;
using Rows = pybind11::array_t<std::int64_t, pybind11::array::c_style>;

// Pointers into the caller's arrays, which its frame holds until the call returns.
pyedge::ImageBatch image_batch(const pyedge::Engine& engine, const pybind11::array& images,
                               const std::optional<Rows>& rows, bool channels_last);

// A group's maps: (array [rows, h, w, c] of float32, float16 or int8, scales or None) for each
// block. `rows`: those of all groups, or below 0 before the first.
std::vector<pyedge::TeacherMaps> teacher_maps(const pybind11::list& blocks, const pyedge::Dims& tap,
                                              std::int64_t& rows);
