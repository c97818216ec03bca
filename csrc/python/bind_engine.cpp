// The engine as a class. Arguments are checked here, since an engine that trusts them would read
// beyond arrays; pyedge/edge gives the errors for people. They are checked against what never
// changes, before the engine is in use.
#include "engine/guarded_engine.hpp"

#include <pybind11/stl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kernels/dispatch/fma_rate.hpp"
#include "python/checks.hpp"
#include "python/engine_arguments.hpp"
#include "python/register.hpp"
#include "python/without_gil.hpp"

namespace py = pybind11;
using pyedge::Engine;
using pyedge::GuardedEngine;

namespace {

pyedge::Pair pair(const py::dict& node, const char* key, pyedge::Pair otherwise) {
  if (!node.contains(key)) return otherwise;
  return node[key].cast<pyedge::Pair>();
}

std::string text(const py::dict& node, const char* key) {
  if (!node.contains(key) || node[key].is_none()) return "";
  return node[key].cast<std::string>();
}

pyedge::Node read_node(const py::dict& from, const py::dict& arrays) {
  pyedge::Node node;
  node.op = pyedge::op_named(text(from, "op"));
  node.name = text(from, "name");
  if (from.contains("inputs")) node.inputs = from["inputs"].cast<std::vector<int>>();
  node.weight = text(from, "weight");
  node.bias = text(from, "bias");
  node.mean = text(from, "mean");
  node.variance = text(from, "variance");
  node.kernel = pair(from, "kernel", {1, 1});
  node.stride = pair(from, "stride", {1, 1});
  node.padding = pair(from, "padding", {0, 0});
  node.dilation = pair(from, "dilation", {1, 1});
  if (from.contains("groups")) node.groups = from["groups"].cast<std::int64_t>();
  if (from.contains("eps")) node.eps = from["eps"].cast<float>();
  if (arrays.contains(node.weight)) {
    const auto weight = py::array(arrays[py::str(node.weight)]);
    if (weight.ndim() == 4) node.kernel = {weight.shape(2), weight.shape(3)};
  }
  for (const auto& [key, value] : from) {
    if (py::isinstance<py::float_>(value) || py::isinstance<py::int_>(value)) {
      node.numbers[key.cast<std::string>()] = value.cast<double>();
    }
  }
  if (from.contains("position")) {
    const std::string name = text(from, "position");
    if (!arrays.contains(name)) {
      refuse("Engine: node '" + node.name + "'", "the name of an array as position",
             "'" + name + "'");
    }
    node.position = arrays[py::str(name)].cast<std::vector<std::int32_t>>();
    node.channels = from["channels"].cast<std::int64_t>();
  }
  return node;
}

std::unique_ptr<GuardedEngine> make_engine(const py::list& nodes, const py::dict& arrays,
                                           const std::vector<std::int64_t>& input_shape, int output,
                                           const std::vector<int>& taps) {
  if (input_shape.size() != 3) {
    refuse("Engine: input_shape", "[c, h, w]", std::to_string(input_shape.size()) + " sizes");
  }
  pyedge::Graph graph;
  graph.input = {input_shape[0], input_shape[1], input_shape[2]};
  graph.output = output;
  graph.taps = taps;
  for (const py::handle node : nodes) {
    graph.nodes.push_back(read_node(node.cast<py::dict>(), arrays));
  }
  for (const auto& [key, value] : arrays) {
    const auto array = value.cast<py::array>();
    if (!py::isinstance<py::array_t<float>>(array)) continue;
    const ContiguousFloats floats = ContiguousFloats::ensure(array);
    pyedge::Array& to = graph.arrays[key.cast<std::string>()];
    to.shape.assign(floats.shape(), floats.shape() + floats.ndim());
    to.values.assign(floats.data(), floats.data() + floats.size());
  }
  return std::make_unique<GuardedEngine>(std::move(graph));
}

ContiguousFloats predict(GuardedEngine& guarded, const py::array& images,
                         const std::optional<Rows>& rows, bool channels_last) {
  const pyedge::ImageBatch batch = image_batch(guarded.fixed(), images, rows, channels_last);
  ContiguousFloats logits({batch.n, guarded.fixed().classes()});
  float* to = logits.mutable_data();
  {
    const WithoutGil released;
    guarded.use("predict", [&](Engine& engine) { engine.predict(batch, to); });
  }
  return logits;
}

py::tuple features(GuardedEngine& guarded, const py::array& images, const std::optional<Rows>& rows,
                   bool channels_last, const std::optional<std::string>& node) {
  const Engine& fixed = guarded.fixed();
  const pyedge::ImageBatch batch = image_batch(fixed, images, rows, channels_last);
  const int linear = fixed.linear_step(node);
  ContiguousFloats read({batch.n, fixed.feature_count(linear)});
  ContiguousFloats logits({batch.n, fixed.classes()});
  float *to = read.mutable_data(), *logits_to = logits.mutable_data();
  {
    const WithoutGil released;
    guarded.use("features", [&](Engine& engine) { engine.features(batch, linear, to, logits_to); });
  }
  return py::make_tuple(read, logits);
}

ContiguousFloats shaped(const std::vector<std::int64_t>& shape, const std::vector<float>& values) {
  ContiguousFloats array(shape);
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

py::dict input_ranges(GuardedEngine& guarded, const py::array& images,
                      const std::optional<Rows>& rows, bool channels_last) {
  const pyedge::ImageBatch batch = image_batch(guarded.fixed(), images, rows, channels_last);
  std::map<std::string, std::vector<float>> found;
  {
    const WithoutGil released;
    guarded.use("input_ranges", [&](Engine& engine) { found = engine.input_ranges(batch); });
  }
  py::dict ranges;
  for (const auto& [name, values] : found) {
    ranges[py::str(name)] = shaped({batch.n, 2}, values);
  }
  return ranges;
}

void set_input_scales(GuardedEngine& guarded,
                      const std::map<std::string, std::pair<double, int>>& scales) {
  std::map<std::string, pyedge::InputScale> given;
  for (const auto& [name, each] : scales) {
    given[name] = {static_cast<float>(each.first), each.second};
  }
  guarded.use("set_input_scales", [&](Engine& engine) { engine.set_input_scales(given); });
}

py::dict step(GuardedEngine& guarded, const py::array& images, const Rows& rows, bool channels_last,
              const std::optional<py::array_t<std::int32_t, py::array::c_style>>& shift,
              const std::optional<py::array_t<bool, py::array::c_style>>& flip,
              const std::optional<Rows>& labels, const std::optional<ContiguousFloats>& logits,
              const std::optional<py::list>& maps, const std::optional<Rows>& map_rows,
              const std::optional<std::vector<DoubleArray>>& norms,
              const std::array<double, 3>& lambdas, bool norms_by_image,
              const std::optional<py::array_t<bool, py::array::c_style>>& mapped) {
  const Engine& engine = guarded.fixed();
  pyedge::ImageBatch batch = image_batch(engine, images, rows, channels_last);
  const std::int64_t n = batch.n;
  require(n > 0, "Engine.step: rows: wanted at least one image, got none");
  if (shift) {
    require_shape(*shift, "Engine.step: shift", {n, 2});
    batch.shift = shift->data();
  }
  if (flip) {
    require_shape(*flip, "Engine.step: flip", {n});
    batch.flip = flip->data();
  }
  pyedge::Knowledge knowledge;
  knowledge.norms_by_image = norms_by_image;
  for (std::size_t i = 0; i < 3; ++i) {
    require_from_0(lambdas[i], "Engine.step: lambdas");
    knowledge.lambdas[i] = lambdas[i];
  }
  if (labels) {
    require_shape(*labels, "Engine.step: labels", {n});
    require_below(labels->data(), n, engine.classes(), "Engine.step: labels", "classes");
    knowledge.labels = labels->data();
  }
  if (logits) {
    require_shape(*logits, "Engine.step: logits", {n, engine.classes()});
    knowledge.logits = logits->data();
  }
  if (maps) {
    require(map_rows && norms, "Engine.step: maps: wanted map_rows and norms as well, got None");
    const std::vector<int>& taps = engine.graph().taps;
    if (maps->size() != taps.size() || norms->size() != taps.size()) {
      refuse("Engine.step: maps and norms",
             "one entry for each of " + std::to_string(taps.size()) + " groups",
             std::to_string(maps->size()) + " and " + std::to_string(norms->size()));
    }
    std::int64_t count = -1;
    for (std::size_t group = 0; group < taps.size(); ++group) {
      const auto blocks = (*maps)[group].cast<py::list>();
      knowledge.maps.push_back(
          teacher_maps(blocks, engine.graph().dims[static_cast<std::size_t>(taps[group])], count));
      const DoubleArray& squares = (*norms)[group];
      require_shape(squares, "Engine.step: norms", {static_cast<py::ssize_t>(blocks.size()), n});
      for (py::ssize_t i = 0; i < squares.size(); ++i) {
        require_from_0(squares.data()[i], "Engine.step: norms");
      }
      knowledge.norms.push_back(squares.data());
    }
    require_shape(*map_rows, "Engine.step: map_rows", {n});
    require_below(map_rows->data(), n, count, "Engine.step: map_rows", "rows of the maps");
    knowledge.map_rows = map_rows->data();
  }
  if (mapped) {
    require(maps.has_value(), "Engine.step: mapped: wanted maps as well, got None");
    require_shape(*mapped, "Engine.step: mapped", {n});
    require(std::any_of(mapped->data(), mapped->data() + n, [](bool each) { return each; }),
            "Engine.step: mapped: wanted True for at least one image, got none");
    knowledge.mapped = mapped->data();
  }
  require(labels || logits || maps, "Engine.step: wanted labels, logits or maps, got none");
  pyedge::StepResult result;
  {
    const WithoutGil released;
    result = guarded.use("step", [&](Engine& mine) { return mine.step(batch, knowledge); });
  }
  py::dict found;
  found["loss"] = result.loss;
  found["J_1"] = result.j1;
  found["J_b"] = result.jb;
  found["J_3"] = result.j3;
  found["pairs"] = result.pairs;
  found["gradient_norm"] = result.gradient_norm;
  return found;
}

void set_optimizer(GuardedEngine& guarded, const std::string& kind, double momentum, bool nesterov,
                   double weight_decay, double beta1, double beta2, double epsilon, double clip) {
  require_choice(kind, "set_optimizer: kind", {"sgd", "adam"});
  require_share(momentum, "set_optimizer: momentum");
  require_share(beta1, "set_optimizer: beta1");
  require_share(beta2, "set_optimizer: beta2");
  require_from_0(weight_decay, "set_optimizer: weight_decay");
  require_from_0(clip, "set_optimizer: clip");
  if (!(epsilon > 0.0) || !std::isfinite(epsilon)) {
    refuse("set_optimizer: epsilon", "a finite number above 0", std::to_string(epsilon));
  }
  guarded.use("set_optimizer", [&](Engine& engine) {
    engine.set_optimizer(
        {kind == "adam", momentum, nesterov, weight_decay, beta1, beta2, epsilon, clip});
  });
}

void set_preprocessing(GuardedEngine& guarded, const std::string& kind,
                       const std::vector<float>& mean, const std::vector<float>& deviation) {
  using Kind = pyedge::Preprocessing::Kind;
  require_choice(kind, "set_preprocessing: kind", {"none", "image", "channel"});
  guarded.use("set_preprocessing", [&](Engine& engine) {
    engine.set_preprocessing({kind == "image"     ? Kind::image
                              : kind == "channel" ? Kind::channel
                                                  : Kind::none,
                              mean, deviation});
  });
}

py::dict state(GuardedEngine& guarded) {
  const auto [slots, steps] = guarded.use("state", [](const Engine& engine) {
    return std::pair(engine.slots(), engine.optimizer_steps());
  });
  py::dict found;
  for (const auto& [name, values] : slots) {
    found[py::str(name)] = shaped(guarded.fixed().shape(name.substr(name.find('.') + 1)), values);
  }
  found["steps"] = py::array(py::int_(steps));
  return found;
}

void set_state(GuardedEngine& guarded, const py::dict& from) {
  require(from.contains("steps"), "set_state: steps: wanted a number, got none");
  std::map<std::string, std::vector<float>> slots;
  for (const auto& [key, value] : from) {
    const auto name = key.cast<std::string>();
    if (name == "steps") continue;
    const ContiguousFloats array = ContiguousFloats::ensure(value);
    if (!array) {
      refuse("set_state: '" + name + "'", "a float32 array", std::string(py::repr(value)));
    }
    slots[name].assign(array.data(), array.data() + array.size());
  }
  const auto steps = from["steps"].cast<std::int64_t>();
  guarded.use("set_state", [&](Engine& engine) { engine.set_slots(slots, steps); });
}

void set_array(GuardedEngine& guarded, const std::string& name, const ContiguousFloats& values) {
  const std::vector<std::int64_t>& shape = guarded.fixed().shape(name);
  require_shape(values, "set_array: values", {shape.begin(), shape.end()});
  for (py::ssize_t i = 0; i < values.size(); ++i) {
    require(std::isfinite(values.data()[i]),
            "set_array: values: wanted finite numbers, got NaN or infinity");
  }
  guarded.use("set_array", [&](Engine& engine) { engine.set_array(name, values.data()); });
}

py::list take_profile(GuardedEngine& guarded) {
  py::list found;
  for (const pyedge::OperationTime& time :
       guarded.use("profile", [](Engine& engine) { return engine.take_profile(); })) {
    found.append(py::make_tuple(time.name, time.phase, time.ms));
  }
  return found;
}

// Members of the engine, bound so that it is in use while they run.
template <typename Result, typename... Arguments>
auto in_turn(const char* name, Result (Engine::*method)(Arguments...)) {
  return [=](GuardedEngine& guarded, Arguments... arguments) {
    return guarded.use(name, [&](Engine& engine) { return (engine.*method)(arguments...); });
  };
}
template <typename Result, typename... Arguments>
auto in_turn(const char* name, Result (Engine::*method)(Arguments...) const) {
  return [=](GuardedEngine& guarded, Arguments... arguments) {
    return guarded.use(name, [&](const Engine& engine) { return (engine.*method)(arguments...); });
  };
}
auto by_name(const char* name, std::vector<float> (Engine::*method)(const std::string&) const) {
  return [values = in_turn(name, method)](GuardedEngine& guarded, const std::string& array) {
    return shaped(guarded.fixed().shape(array), values(guarded, array));
  };
}

// Makes NotFiniteError, a ValueError that says in `quantity` what was not finite.
void register_not_finite(py::module_& module) {
  // it lives as long as the process: translators cannot be taken back
  static const py::handle type =
      py::exception<pyedge::NotFinite>(module, "NotFiniteError", PyExc_ValueError).release();
  py::register_local_exception_translator([](std::exception_ptr thrown) {
    try {
      if (thrown) std::rethrow_exception(thrown);
    } catch (const pyedge::NotFinite& error) {
      const py::object made = type(error.what());
      made.attr("quantity") = error.quantity;
      PyErr_SetObject(type.ptr(), made.ptr());
    }
  });
}

}  // namespace

void register_engine(py::module_& module) {
  register_not_finite(module);
  module.def("fma_rate", &pyedge::fma_rate, py::arg("seconds"), py::call_guard<WithoutGil>());
  py::class_<GuardedEngine>(module, "Engine")
      .def(py::init(&make_engine), py::arg("nodes"), py::arg("arrays"), py::arg("input_shape"),
           py::arg("output"), py::arg("taps"))
      .def("__reduce__",
           [](const GuardedEngine&) -> py::object {
             throw py::type_error(
                 "Engine: an engine cannot be copied or pickled; copy what it was made of, or the "
                 "EdgeLearner that has it");
           })
      .def("set_threads", &GuardedEngine::set_threads, py::arg("count"))
      .def("set_trainable", in_turn("set_trainable", &Engine::set_trainable), py::arg("nodes"))
      .def(
          "set_batch_norm",
          [](GuardedEngine& guarded, const std::string& mode) {
            require_choice(mode, "set_batch_norm: mode", {"frozen", "batch"});
            guarded.use("set_batch_norm", [&](Engine& engine) {
              engine.set_statistics(mode == "batch" ? pyedge::Statistics::of_batch
                                                    : pyedge::Statistics::running);
            });
          },
          py::arg("mode"))
      .def("set_micro_batch", in_turn("set_micro_batch", &Engine::set_micro_batch),
           py::arg("images"))
      .def(
          "set_precision",
          [](GuardedEngine& guarded, const std::string& precision) {
            require_choice(precision, "set_precision: precision", {"float32", "half", "int8"});
            guarded.use("set_precision", [&](Engine& engine) {
              engine.set_precision(precision == "half"   ? pyedge::Precision::half
                                   : precision == "int8" ? pyedge::Precision::int8
                                                         : pyedge::Precision::float32);
            });
          },
          py::arg("precision"))
      .def_property_readonly("precision",
                             [](GuardedEngine& guarded) {
                               const auto found = guarded.use(
                                   "precision", [](Engine& engine) { return engine.precision(); });
                               return found == pyedge::Precision::half   ? "half"
                                      : found == pyedge::Precision::int8 ? "int8"
                                                                         : "float32";
                             })
      .def("set_input_scales", &set_input_scales, py::arg("scales"))
      .def("set_optimizer", &set_optimizer, py::arg("kind") = "sgd", py::arg("momentum") = 0.9,
           py::arg("nesterov") = true, py::arg("weight_decay") = 5e-4, py::arg("beta1") = 0.9,
           py::arg("beta2") = 0.999, py::arg("epsilon") = 1e-8, py::arg("clip") = 5.0)
      .def("set_preprocessing", &set_preprocessing, py::arg("kind"),
           py::arg("mean") = std::vector<float>(), py::arg("deviation") = std::vector<float>())
      .def(
          "memory",
          [](GuardedEngine& guarded, std::int64_t batch, bool training) {
            if (batch < 0 || batch > 1 << 20) {
              refuse("memory: batch", "a number from 0 to 2^20", std::to_string(batch));
            }
            return guarded.use(
                "memory", [&](const Engine& engine) { return engine.memory(batch, training); });
          },
          py::arg("batch"), py::arg("training"))
      .def_property_readonly("weight_bytes", in_turn("weight_bytes", &Engine::weight_bytes))
      .def_property_readonly("classes",
                             [](const GuardedEngine& guarded) { return guarded.fixed().classes(); })
      .def("predict", &predict, py::arg("images"), py::arg("rows").noconvert() = py::none(),
           py::arg("channels_last") = false)
      .def("features", &features, py::arg("images"), py::arg("rows").noconvert() = py::none(),
           py::arg("channels_last") = false, py::arg("node") = py::none())
      .def("input_ranges", &input_ranges, py::arg("images"),
           py::arg("rows").noconvert() = py::none(), py::arg("channels_last") = false)
      .def("step", &step, py::arg("images"), py::arg("rows").noconvert(),
           py::arg("channels_last") = false, py::arg("shift").noconvert() = py::none(),
           py::arg("flip").noconvert() = py::none(), py::arg("labels").noconvert() = py::none(),
           py::arg("logits").noconvert() = py::none(), py::arg("maps") = py::none(),
           py::arg("map_rows").noconvert() = py::none(), py::arg("norms") = py::none(),
           py::arg("lambdas") = std::array<double, 3>{1.0, 10.0, 1.0},
           py::arg("norms_by_image") = false, py::arg("mapped").noconvert() = py::none())
      .def("update", in_turn("update", &Engine::update), py::arg("lr"),
           py::call_guard<WithoutGil>())
      .def("gradient", by_name("gradient", &Engine::gradient), py::arg("name"))
      .def("array", by_name("array", &Engine::array), py::arg("name"))
      .def("set_array", &set_array, py::arg("name"), py::arg("values").noconvert())
      .def_property_readonly("array_names", in_turn("array_names", &Engine::array_names))
      .def("state", &state)
      .def("set_state", &set_state, py::arg("state"))
      .def("set_profiling", in_turn("set_profiling", &Engine::set_profiling), py::arg("on"))
      .def("profile", &take_profile);
}
