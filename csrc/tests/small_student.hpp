// A small student with everything that is hard in it, and a batch for it to learn from.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "engine/engine.hpp"

namespace check {

constexpr std::int64_t images = 9, classes = 3, side = 10, channels = 2;

class GraphMaker {
 public:
  explicit GraphMaker(unsigned seed) : random_(seed) {
    graph.input = {channels, side, side};
    graph.nodes.push_back(node("input", "input", {}));
  }
  int last() const { return static_cast<int>(graph.nodes.size()) - 1; }
  int add(const char* op, const std::string& name, std::vector<int> inputs) {
    graph.nodes.push_back(node(op, name, std::move(inputs)));
    return last();
  }
  int conv(const std::string& name, std::int64_t from, std::int64_t to, std::int64_t stride) {
    add("conv2d", name, {last()});
    pyedge::Node& made = graph.nodes.back();
    made.weight = name + ".weight";
    made.kernel = {3, 3};
    made.stride = {stride, stride};
    made.padding = {1, 1};
    array(made.weight, {to, from, 3, 3}, 0.0f, std::sqrt(2.0f / static_cast<float>(9 * from)));
    return last();
  }
  int norm(const std::string& name, std::int64_t c) {
    add("batch_norm", name, {last()});
    pyedge::Node& made = graph.nodes.back();
    made.weight = name + ".weight";
    made.bias = name + ".bias";
    made.mean = name + ".mean";
    made.variance = name + ".variance";
    array(made.weight, {c}, 1.0f, 0.1f);
    array(made.bias, {c}, 0.0f, 0.1f);
    array(made.mean, {c}, 0.0f, 0.1f);
    array(made.variance, {c}, 1.0f, 0.0f);
    return last();
  }
  int linear(const std::string& name, std::int64_t from, std::int64_t to) {
    add("linear", name, {last()});
    pyedge::Node& made = graph.nodes.back();
    made.weight = name + ".weight";
    made.bias = name + ".bias";
    array(made.weight, {to, from}, 0.0f, 0.3f);
    array(made.bias, {to}, 0.0f, 0.1f);
    return last();
  }

  pyedge::Graph graph;

 private:
  static pyedge::Node node(const char* op, const std::string& name, std::vector<int> inputs) {
    pyedge::Node made;
    made.op = pyedge::op_named(op);
    made.name = name;
    made.inputs = std::move(inputs);
    return made;
  }
  void array(const std::string& name, std::vector<std::int64_t> shape, float mean, float spread) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    std::vector<float> values = check::normal_floats(static_cast<std::size_t>(count), random_);
    for (float& value : values) value = mean + spread * value;
    graph.arrays[name] = {std::move(shape), std::move(values)};
  }

  std::mt19937 random_;
};

// Two groups, of wide 3x3 convolutions among others, with a shortcut and channel pad between them.
inline pyedge::Graph make_graph() {
  GraphMaker net(1);
  net.conv("stem", channels, 20, 1);
  const int stem = net.norm("norm1", 20);
  net.add("relu", "relu1", {stem});
  const int conv = net.conv("conv1", 20, 33, 1);
  const int pad = net.add("channel_pad", "pad", {stem});
  net.graph.nodes.back().channels = 33;
  for (int c = 0; c < 20; ++c) net.graph.nodes.back().position.push_back(c == 7 ? -1 : c + c / 2);
  net.graph.taps.push_back(net.add("add", "sum", {pad, conv}));
  net.norm("norm2", 33);
  net.add("relu6", "relu2", {net.last()});
  net.conv("conv2", 33, 17, 2);
  net.graph.taps.push_back(net.add("relu", "relu3", {net.last()}));
  net.add("global_avg_pool", "pool", {net.last()});
  net.graph.output = net.linear("head", 17, classes);
  return net.graph;
}

// Images, labels, and a teacher of two blocks a group.
struct LessonBatch {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> rows, labels;
  std::vector<float> logits;
  std::vector<std::vector<float>> maps;
  std::vector<std::vector<double>> norms;

  explicit LessonBatch(const pyedge::Graph& graph) {
    std::mt19937 random(2);
    for (std::int64_t i = 0; i < images; ++i) {
      rows.push_back(i);
      labels.push_back(i % classes);
      for (std::int64_t p = 0; p < channels * side * side; ++p) {
        const bool bright = p % side / 3 == labels.back();
        pixels.push_back(static_cast<std::uint8_t>(random() % 100 + (bright ? 120 : 0)));
      }
    }
    logits = check::normal_floats(images * classes, random);
    for (const int tap : graph.taps) {
      const pyedge::Dims& d = graph.dims[static_cast<std::size_t>(tap)];
      const auto size = static_cast<std::size_t>(images * d.c * d.h * d.w);
      std::vector<double> squares;
      for (int k = 0; k < 2; ++k) {
        maps.push_back(check::normal_floats(size, random));
        for (std::int64_t i = 0; i < images; ++i) {
          double square = 0.0;
          for (std::size_t at = 0; at < size / images; ++at) {
            const double x = maps.back()[static_cast<std::size_t>(i) * (size / images) + at];
            square += 1.5 * x * x;
          }
          squares.push_back(square);
        }
      }
      norms.push_back(squares);
    }
  }
  pyedge::ImageBatch images_in() const {
    pyedge::ImageBatch batch;
    batch.data = pixels.data();
    batch.n = images;
    batch.rows = rows.data();
    return batch;
  }
  pyedge::Knowledge knowledge() const {
    pyedge::Knowledge known;
    known.labels = labels.data();
    known.logits = logits.data();
    known.map_rows = rows.data();
    for (std::size_t group = 0; group < norms.size(); ++group) {
      known.norms.push_back(norms[group].data());
      known.maps.push_back({});
      for (std::size_t k = 0; k < 2; ++k) {
        known.maps.back().push_back(
            {maps[2 * group + k].data(), pyedge::MapType::float32, nullptr});
      }
    }
    return known;
  }
};

}  // namespace check
