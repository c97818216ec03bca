// Telling a numpy array's memory layout from its strides.
#include "python/arrays.hpp"

#include <array>
#include <string>

#include "python/checks.hpp"

namespace py = pybind11;
using pyedge::Layout;
using pyedge::Shape;

namespace {

// An axis of length 1 may have any stride, and so may every axis of an empty array.
bool has_strides(const FloatArray& maps, const std::array<py::ssize_t, 4>& want) {
  if (maps.size() == 0) return true;
  for (int axis = 0; axis < 4; ++axis) {
    const auto stride = want[static_cast<std::size_t>(axis)];
    if (maps.shape(axis) != 1 && maps.strides(axis) != stride) return false;
  }
  return true;
}

bool has_layout(const FloatArray& maps, Layout layout) {
  constexpr py::ssize_t item = sizeof(float);
  const py::ssize_t c = maps.shape(1), h = maps.shape(2), w = maps.shape(3);
  if (layout == Layout::nchw) {
    return has_strides(maps, {c * h * w * item, h * w * item, w * item, item});
  }
  return has_strides(maps, {h * w * c * item, item, w * c * item, c * item});
}

}  // namespace

Shape shape_of(const FloatArray& maps, const char* name, Layout preferred) {
  if (maps.ndim() != 4) refuse(std::string("_core: ") + name, "4 axes", described(maps));
  const Layout other = preferred == Layout::nchw ? Layout::channels_last : Layout::nchw;
  for (const Layout layout : {preferred, other}) {
    if (has_layout(maps, layout)) {
      return {maps.shape(0), maps.shape(1), maps.shape(2) * maps.shape(3), layout};
    }
  }
  throw py::type_error(std::string("_core: ") + name +
                       ": wanted NCHW or channels-last memory, got neither");
}
