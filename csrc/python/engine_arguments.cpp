// Checking the arrays that the engine is given.
#include "python/engine_arguments.hpp"

#include <string>

#include "python/checks.hpp"

namespace py = pybind11;

pyedge::ImageBatch image_batch(const pyedge::Engine& engine, const py::array& images,
                               const std::optional<Rows>& rows, bool channels_last) {
  const pyedge::Dims& in = engine.graph().input;
  pyedge::ImageBatch batch;
  batch.channels_last = channels_last;
  batch.is_float = py::isinstance<py::array_t<float>>(images);
  if (!batch.is_float && !py::isinstance<py::array_t<std::uint8_t>>(images)) {
    throw py::type_error("Engine: images: wanted uint8 or float32, got " + described(images));
  }
  if (!(images.flags() & py::array::c_style)) {
    throw py::type_error("Engine: images: wanted C-contiguous memory, got strides");
  }
  const py::ssize_t n = images.ndim() > 0 ? images.shape(0) : 0;
  if (channels_last) {
    require_shape(images, "Engine: images", {n, in.h, in.w, in.c});
  } else {
    require_shape(images, "Engine: images", {n, in.c, in.h, in.w});
  }
  batch.data = images.data();
  batch.n = n;
  if (rows) {
    if (rows->ndim() != 1) refuse("Engine: rows", "one axis", described(*rows));
    batch.n = rows->shape(0);
    batch.rows = rows->data();
    require_below(batch.rows, batch.n, n, "Engine: rows", "images");
  }
  return batch;
}

std::vector<pyedge::TeacherMaps> teacher_maps(const py::list& blocks, const pyedge::Dims& tap,
                                              std::int64_t& rows) {
  std::vector<pyedge::TeacherMaps> found;
  for (const py::handle item : blocks) {
    const auto block = item.cast<py::tuple>();
    if (block.size() != 2) {
      refuse("Engine.step: maps", "a pair (maps, scales or None) for each block",
             std::to_string(block.size()) + " of them");
    }
    const auto maps = block[0].cast<py::array>();
    require_shape(maps, "Engine.step: maps",
                  {maps.ndim() > 0 ? maps.shape(0) : 0, tap.h, tap.w, tap.c});
    require(maps.flags() & py::array::c_style,
            "Engine.step: maps: wanted C-contiguous memory, got strides");
    pyedge::TeacherMaps to{maps.data(), pyedge::MapType::float32, nullptr};
    const char kind = maps.dtype().kind(), order = maps.dtype().byteorder();
    const py::ssize_t size = maps.itemsize();
    if (kind == 'f' && size == 2) {
      to.type = pyedge::MapType::float16;
    } else if (kind == 'i' && size == 1) {
      to.type = pyedge::MapType::int8;
    } else if (!(kind == 'f' && size == 4)) {
      throw py::type_error("Engine.step: maps: wanted float32, float16 or int8, got " +
                           described(maps));
    }
    if (order != '=' && order != '|') {
      throw py::type_error("Engine.step: maps: wanted the machine's byte order, got the other");
    }
    if (rows >= 0 && rows != maps.shape(0)) {
      refuse("Engine.step: maps", std::to_string(rows) + " rows, as in the first block",
             std::to_string(maps.shape(0)));
    }
    rows = maps.shape(0);
    if (!block[1].is_none()) {
      const auto scales = block[1].cast<py::array>();
      require_shape(scales, "Engine.step: scales", {static_cast<py::ssize_t>(rows)});
      if (!py::isinstance<py::array_t<float>>(scales) || !(scales.flags() & py::array::c_style)) {
        refuse("Engine.step: scales", "contiguous float32", described(scales));
      }
      to.scales = static_cast<const float*>(scales.data());
    }
    if (!found.empty() && found[0].type != to.type) {
      refuse("Engine.step: maps", "one dtype in a group", described(maps) + " besides another");
    }
    found.push_back(to);
  }
  require(!found.empty(), "Engine.step: maps: wanted at least one block in each group, got none");
  return found;
}
