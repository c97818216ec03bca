// Checking the arrays that the engine is given.
#include "python/engine_arguments.hpp"

namespace py = pybind11;

pyedge::ImageBatch image_batch(const pyedge::Engine& engine, const py::array& images,
                               const std::optional<Rows>& rows, bool channels_last) {
  const pyedge::Dims& in = engine.graph().input;
  pyedge::ImageBatch batch;
  batch.channels_last = channels_last;
  batch.is_float = py::isinstance<py::array_t<float>>(images);
  if (!batch.is_float && !py::isinstance<py::array_t<std::uint8_t>>(images)) {
    throw py::type_error("Engine: images must be uint8 or float32");
  }
  if (!(images.flags() & py::array::c_style)) {
    throw py::type_error("Engine: images must be C-contiguous");
  }
  const std::int64_t c = channels_last ? 3 : 1, y = channels_last ? 1 : 2,
                     x = channels_last ? 2 : 3;
  require(images.ndim() == 4 && images.shape(c) == in.c && images.shape(y) == in.h &&
              images.shape(x) == in.w,
          "Engine: images must be [n, c, h, w] of the student's input shape, or [n, h, w, c] with "
          "channels_last");
  batch.data = images.data();
  batch.n = images.shape(0);
  if (rows) {
    require(rows->ndim() == 1, "Engine: rows must have one axis");
    batch.n = rows->shape(0);
    batch.rows = rows->data();
    for (std::int64_t i = 0; i < batch.n; ++i) {
      require(batch.rows[i] >= 0 && batch.rows[i] < images.shape(0),
              "Engine: rows must name images that are there");
    }
  }
  return batch;
}

std::vector<pyedge::TeacherMaps> teacher_maps(const py::list& blocks, const pyedge::Dims& tap,
                                              std::int64_t& rows) {
  std::vector<pyedge::TeacherMaps> found;
  for (const py::handle item : blocks) {
    const auto block = item.cast<py::tuple>();
    require(block.size() == 2, "Engine.step: a block's maps are a pair (maps, scales or None)");
    const auto maps = block[0].cast<py::array>();
    require((maps.flags() & py::array::c_style) && maps.ndim() == 4 && maps.shape(1) == tap.h &&
                maps.shape(2) == tap.w && maps.shape(3) == tap.c,
            "Engine.step: maps must be C-contiguous [rows, h, w, c] like the student's group");
    pyedge::TeacherMaps to{maps.data(), pyedge::MapType::float32, nullptr};
    const char kind = maps.dtype().kind(), order = maps.dtype().byteorder();
    const py::ssize_t size = maps.itemsize();
    if (kind == 'f' && size == 2) {
      to.type = pyedge::MapType::float16;
    } else if (kind == 'i' && size == 1) {
      to.type = pyedge::MapType::int8;
    } else if (!(kind == 'f' && size == 4)) {
      throw py::type_error("Engine.step: maps must be float32, float16 or int8");
    }
    if (order != '=' && order != '|') {
      throw py::type_error("Engine.step: maps must be in the machine's byte order");
    }
    require(rows < 0 || rows == maps.shape(0), "Engine.step: maps differ in their rows");
    rows = maps.shape(0);
    if (!block[1].is_none()) {
      const auto scales = block[1].cast<py::array>();
      require(py::isinstance<py::array_t<float>>(scales) && scales.ndim() == 1 &&
                  scales.shape(0) == rows && (scales.flags() & py::array::c_style),
              "Engine.step: scales must be float32, one for each row of the maps");
      to.scales = static_cast<const float*>(scales.data());
    }
    require(found.empty() || found[0].type == to.type,
            "Engine.step: a group's maps must be of one dtype");
    found.push_back(to);
  }
  require(!found.empty(), "Engine.step: a group has no maps");
  return found;
}
