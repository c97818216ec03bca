// Two steps of learning on the paper's ResNet 4, for bench/neon/step_count.py to count the
// instructions of the second under emulation: resnet4_step BATCH. The last conv of each group and
// the classifier learn (Sec. 4.1) from four float16 candidates a group; weights and knowledge are
// random. resnet4_step BATCH sums: what learning from statistics does with a batch, a forward pass
// and the second moments of the features. resnet4_step BATCH answers: a batch's logits. "half"
// after any: in half precision; "int8" after answers: in 8 bits.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.hpp"
#include "kernels/sums/second_moments.hpp"
#include "threads/thread_pool.hpp"

namespace {

using pyedge::Graph;
using pyedge::Node;

// WRN students' widths: the stem's, then conv1 and conv2 of each group
constexpr std::int64_t widths[] = {12, 54, 78, 48, 210, 8, 498};
constexpr std::int64_t side = 32, colours = 3, classes = 10, candidates = 4;
constexpr std::uint16_t half_one = 0x3c00;  // 1.0 in float16; 1 to 2 with any mantissa

std::vector<float> normal_floats(std::int64_t count, float mean, float spread,
                                 std::mt19937& random) {
  std::normal_distribution<float> normal(mean, spread);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

class Builder {
 public:
  Graph graph;

  int add(const char* op, const std::string& name, std::vector<int> inputs) {
    Node node;
    node.op = pyedge::op_named(op);
    node.name = name;
    node.inputs = std::move(inputs);
    graph.nodes.push_back(node);
    return static_cast<int>(graph.nodes.size()) - 1;
  }
  int conv(int from, const std::string& name, std::int64_t c_in, std::int64_t c_out,
           std::int64_t stride) {
    const int at = add("conv2d", name, {from});
    Node& node = graph.nodes.back();
    node.kernel = {3, 3};
    node.padding = {1, 1};
    node.stride = {stride, stride};
    node.weight = array(name + ".weight", {c_out, c_in, 3, 3}, 0.0f,
                        std::sqrt(2.0f / static_cast<float>(9 * c_in)));
    return at;
  }
  int norm_relu(int from, const std::string& name, std::int64_t c) {
    const int at = add("batch_norm", name, {from});
    Node& node = graph.nodes.back();
    node.weight = array(name + ".weight", {c}, 1.0f, 0.1f);
    node.bias = array(name + ".bias", {c}, 0.0f, 0.1f);
    node.mean = array(name + ".mean", {c}, 0.0f, 0.1f);
    node.variance = array(name + ".variance", {c}, 1.0f, 0.01f);
    return add("relu", name + ".relu", {at});
  }
  int linear(int from, const std::string& name, std::int64_t c_in, std::int64_t c_out) {
    const int at = add("linear", name, {from});
    Node& node = graph.nodes.back();
    node.weight = array(name + ".weight", {c_out, c_in}, 0.0f, 0.05f);
    node.bias = array(name + ".bias", {c_out}, 0.0f, 0.01f);
    return at;
  }

 private:
  std::string array(const std::string& name, std::vector<std::int64_t> shape, float mean,
                    float spread) {
    std::int64_t count = 1;
    for (const std::int64_t size : shape) count *= size;
    graph.arrays[name] = {std::move(shape), normal_floats(count, mean, spread, random_)};
    return name;
  }
  std::mt19937 random_{1};
};

// One pre-activation block a group; shortcuts without parameters: average pool and channel pad.
Graph resnet4(std::vector<std::string>& learns) {
  Builder net;
  net.graph.input = {colours, side, side};
  int x = net.conv(net.add("input", "input", {}), "stem", colours, widths[0], 1);
  std::int64_t c = widths[0];
  for (int g = 0; g < 3; ++g) {
    const std::string block = "group" + std::to_string(g);
    const std::int64_t thin = widths[2 * g + 1], wide = widths[2 * g + 2];
    int y = net.norm_relu(x, block + ".bn1", c);
    y = net.conv(y, block + ".conv1", c, thin, g == 0 ? 1 : 2);
    y = net.norm_relu(y, block + ".bn2", thin);
    y = net.conv(y, block + ".conv2", thin, wide, 1);
    learns.push_back(block + ".conv2");
    if (g > 0) {
      x = net.add("avg_pool", block + ".pool", {x});
      net.graph.nodes.back().kernel = net.graph.nodes.back().stride = {2, 2};
    }
    x = net.add("channel_pad", block + ".pad", {x});
    net.graph.nodes.back().channels = wide;
    for (std::int64_t i = 0; i < c; ++i) {  // spread over the wider map, in order
      net.graph.nodes.back().position.push_back(static_cast<std::int32_t>(i * wide / c));
    }
    x = net.add("add", block + ".add", {x, y});
    net.graph.taps.push_back(x);
    c = wide;
  }
  x = net.add("global_avg_pool", "pool", {net.norm_relu(x, "bn", c)});
  net.graph.output = net.linear(net.add("flatten", "flatten", {x}), "classifier", c, classes);
  learns.push_back("classifier");
  return net.graph;
}

// Images and what a teacher of four blocks a group knows of them.
struct Lesson {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> rows, labels;
  std::vector<float> logits;
  std::vector<std::vector<std::uint16_t>> maps;  // by group and candidate
  std::vector<std::vector<double>> norms;

  Lesson(const Graph& graph, std::int64_t n) {
    std::mt19937 random(2);
    for (std::int64_t i = 0; i < n; ++i) {
      rows.push_back(i);
      labels.push_back(i % classes);
    }
    for (std::int64_t i = 0; i < n * colours * side * side; ++i) {
      pixels.push_back(static_cast<std::uint8_t>(random() % 256));
    }
    logits = normal_floats(n * classes, 0.0f, 1.0f, random);
    for (const int tap : graph.taps) {
      const pyedge::Dims& d = graph.dims[static_cast<std::size_t>(tap)];
      for (std::int64_t k = 0; k < candidates; ++k) {
        maps.emplace_back();
        for (std::int64_t i = 0; i < n * d.c * d.h * d.w; ++i) {
          maps.back().push_back(static_cast<std::uint16_t>(half_one + random() % 1024));
        }
      }
      // no less than the maps' own: values up to 2
      const auto square = static_cast<double>(4 * d.c * d.h * d.w);
      norms.emplace_back(static_cast<std::size_t>(n * candidates), square);
    }
  }
  pyedge::ImageBatch images() const {
    pyedge::ImageBatch batch;
    batch.data = pixels.data();
    batch.n = static_cast<std::int64_t>(rows.size());
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
      known.maps.emplace_back();
      for (std::size_t k = 0; k < candidates; ++k) {
        known.maps.back().push_back(
            {maps[candidates * group + k].data(), pyedge::MapType::float16, nullptr});
      }
    }
    return known;
  }
};

}  // namespace

// Where counting begins and ends: functions that the emulator's log names.
extern "C" __attribute__((noinline)) void count_from_here() {
  asm volatile("");
}
extern "C" __attribute__((noinline)) void count_to_here() {
  asm volatile("");
}

namespace {

// Returns whether the second moments, which both passes add to, are twice those of the first.
bool add_up(pyedge::Engine& engine, const Lesson& lesson) {
  const int classifier = engine.linear_step("classifier");
  const auto f = engine.feature_count(classifier);
  const auto n = static_cast<std::int64_t>(lesson.rows.size());
  const auto size = static_cast<std::size_t>(n * f);
  std::vector<float> features(size), logits(static_cast<std::size_t>(n * classes));
  std::vector<std::int32_t> whole(size);
  std::vector<std::int64_t> moments(static_cast<std::size_t>(f * (f + 1) / 2));
  const auto pass = [&] {
    engine.features(lesson.images(), classifier, features.data(), logits.data());
    for (std::size_t i = 0; i < size; ++i) {
      whole[i] = static_cast<std::int32_t>(std::lrintf(features[i] * 4096.0f));
    }
    pyedge::add_second_moments(whole.data(), n, f, moments.data());
  };
  pass();
  const std::vector<std::int64_t> once = moments;
  count_from_here();
  pass();
  count_to_here();
  for (std::size_t i = 0; i < once.size(); ++i) {
    if (moments[i] != 2 * once[i]) return false;
  }
  return std::any_of(once.begin(), once.end(), [](std::int64_t value) { return value != 0; });
}

// Scales that hold all that the engine's layers read of these images.
std::map<std::string, pyedge::InputScale> scales_of(pyedge::Engine& engine, const Lesson& lesson) {
  std::map<std::string, pyedge::InputScale> scales;
  for (const auto& [name, ends] : engine.input_ranges(lesson.images())) {
    const float low = *std::min_element(ends.begin(), ends.end());
    const float scale = (*std::max_element(ends.begin(), ends.end()) - low) / 255.0f;
    scales[name] = {scale, static_cast<std::int32_t>(std::lrintf(-low / scale))};
  }
  return scales;
}

// Returns whether a second pass gives what the first gave.
bool answer(pyedge::Engine& engine, const Lesson& lesson) {
  const auto size = lesson.rows.size() * static_cast<std::size_t>(classes);
  std::vector<float> first(size), second(size);
  engine.predict(lesson.images(), first.data());
  count_from_here();
  engine.predict(lesson.images(), second.data());
  count_to_here();
  return first == second;
}

}  // namespace

int main(int argc, char** argv) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const bool half = words.size() > 1 && words.back() == "half";
  const bool int8 = words.size() > 2 && words.back() == "int8";
  const std::size_t left = words.size() - (half || int8 ? 1 : 0);
  const bool sums = left == 2 && words[1] == "sums", answers = left == 2 && words[1] == "answers";
  const bool known = answers || (!int8 && (left == 1 || sums));
  const long n = known ? std::atol(argv[1]) : 0;
  if (n < 1) {
    return std::puts("usage: resnet4_step BATCH [sums] [half], BATCH answers [half|int8]"),
           EXIT_FAILURE;
  }
  pyedge::set_num_threads(1);
  std::vector<std::string> learns;
  pyedge::Engine engine(resnet4(learns));
  engine.set_trainable(learns);
  if (half) engine.set_precision(pyedge::Precision::half);
  engine.set_preprocessing({pyedge::Preprocessing::Kind::image, {}, {}});
  const Lesson lesson(engine.graph(), n);
  if (int8) {
    engine.set_input_scales(scales_of(engine, lesson));
    engine.set_precision(pyedge::Precision::int8);
  }
  if (answers) return answer(engine, lesson) ? EXIT_SUCCESS : EXIT_FAILURE;
  if (sums) return add_up(engine, lesson) ? EXIT_SUCCESS : EXIT_FAILURE;
  const auto step = [&] {
    const double loss = engine.step(lesson.images(), lesson.knowledge()).loss;
    engine.update(1e-3);
    return loss;
  };
  const double first = step();  // plans, and packs weights that never change
  count_from_here();
  const double second = step();
  count_to_here();
  std::printf("loss %.6f, then %.6f\n", first, second);
  return second < first ? EXIT_SUCCESS : EXIT_FAILURE;
}
