// The engine without Python: a small student learns, to the same bits on any number of threads.
#include "engine/engine.hpp"

#include <cmath>
#include <cstring>
#include <stdexcept>

#include "check.hpp"
#include "hold_up.hpp"
#include "kernels/thread_pool.hpp"

using pyedge::Engine;
using pyedge::Graph;
using pyedge::Node;
using pyedge::Op;

namespace {

constexpr std::int64_t images = 9, classes = 3, side = 10, channels = 2;

class GraphMaker {
 public:
  explicit GraphMaker(unsigned seed) : random_(seed) {
    graph.input = {channels, side, side};
    graph.nodes.push_back(node(Op::input, "input", {}));
  }
  int last() const { return static_cast<int>(graph.nodes.size()) - 1; }
  int add(Op op, const std::string& name, std::vector<int> inputs) {
    graph.nodes.push_back(node(op, name, std::move(inputs)));
    return last();
  }
  int conv(const std::string& name, std::int64_t from, std::int64_t to, std::int64_t stride) {
    add(Op::conv2d, name, {last()});
    Node& made = graph.nodes.back();
    made.weight = name + ".weight";
    made.kernel = {3, 3};
    made.stride = {stride, stride};
    made.padding = {1, 1};
    array(made.weight, {to, from, 3, 3}, 0.0f, std::sqrt(2.0f / static_cast<float>(9 * from)));
    return last();
  }
  int norm(const std::string& name, std::int64_t c) {
    add(Op::batch_norm, name, {last()});
    Node& made = graph.nodes.back();
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
    add(Op::linear, name, {last()});
    Node& made = graph.nodes.back();
    made.weight = name + ".weight";
    made.bias = name + ".bias";
    array(made.weight, {to, from}, 0.0f, 0.3f);
    array(made.bias, {to}, 0.0f, 0.1f);
    return last();
  }

  Graph graph;

 private:
  static Node node(Op op, const std::string& name, std::vector<int> inputs) {
    Node made;
    made.op = op;
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
Graph make_graph() {
  GraphMaker net(1);
  net.conv("stem", channels, 20, 1);
  const int stem = net.norm("norm1", 20);
  net.add(Op::relu, "relu1", {stem});
  const int conv = net.conv("conv1", 20, 33, 1);
  const int pad = net.add(Op::channel_pad, "pad", {stem});
  net.graph.nodes.back().channels = 33;
  for (int c = 0; c < 20; ++c) net.graph.nodes.back().position.push_back(c == 7 ? -1 : c + c / 2);
  net.graph.taps.push_back(net.add(Op::add, "sum", {pad, conv}));
  net.norm("norm2", 33);
  net.add(Op::relu6, "relu2", {net.last()});
  net.conv("conv2", 33, 17, 2);
  net.graph.taps.push_back(net.add(Op::relu, "relu3", {net.last()}));
  net.add(Op::global_avg_pool, "pool", {net.last()});
  net.graph.output = net.linear("head", 17, classes);
  return net.graph;
}

// Images, labels, and a teacher of two blocks a group.
struct Batch {
  std::vector<std::uint8_t> pixels;
  std::vector<std::int64_t> rows, labels;
  std::vector<float> logits;
  std::vector<std::vector<float>> maps;
  std::vector<std::vector<double>> norms;

  explicit Batch(const Graph& graph) {
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

std::vector<std::string> every_layer(const Graph& graph) {
  std::vector<std::string> names;
  for (const Node& node : graph.nodes) {
    if (!node.weight.empty()) names.push_back(node.name);
  }
  return names;
}

struct Trained {
  std::vector<double> losses;
  std::vector<float> numbers;  // weights, statistics, logits
};

Trained train(const std::vector<std::string>& layers, bool batch_statistics, bool adam) {
  Engine engine(make_graph());
  engine.set_trainable(layers);
  engine.set_batch_statistics(batch_statistics);
  pyedge::OptimizerSettings optimizer;
  optimizer.adam = adam;
  engine.set_optimizer(optimizer);
  engine.set_preprocessing({pyedge::Preprocessing::Kind::image, {}, {}});
  const Batch batch(engine.graph());
  Trained done;
  for (int i = 0; i < 6; ++i) {
    done.losses.push_back(engine.step(batch.images_in(), batch.knowledge()).loss);
    engine.update(adam ? 1e-3 : 1e-2);
  }
  for (const std::string& name : engine.array_names()) {
    const std::vector<float> values = engine.array(name);
    done.numbers.insert(done.numbers.end(), values.begin(), values.end());
  }
  std::vector<float> logits(images * classes);
  engine.predict(batch.images_in(), logits.data());
  done.numbers.insert(done.numbers.end(), logits.begin(), logits.end());
  return done;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace

TEST(engine_learns_to_the_same_bits_on_any_number_of_threads) {
  const std::vector<std::string> every = every_layer(make_graph());
  check::on_each_isa([&](const std::string& isa) {
    for (const auto& [layers, batch, adam] : {std::tuple<std::vector<std::string>, bool, bool>{
                                                  {"conv1", "conv2", "head"}, false, false},
                                              {every, true, false},
                                              {every, false, true}}) {
      pyedge::set_num_threads(1);
      const Trained alone = train(layers, batch, adam);
      CHECK_AT(alone.losses.back() < 0.99 * alone.losses.front(), isa);
      for (const int threads : {2, 3}) {
        pyedge::set_num_threads(threads);
        const Trained together = train(layers, batch, adam);
        CHECK_AT(alone.losses == together.losses, isa);
        CHECK_AT(same_bits(alone.numbers, together.numbers), isa);
      }
    }
  });
  pyedge::set_num_threads(2);
}

#if defined(__linux__)
TEST(engine_learns_to_the_same_bits_when_its_threads_are_held_up) {
  const std::vector<std::string> layers{"conv1", "conv2", "head"};
  pyedge::set_num_threads(1);
  const Trained alone = train(layers, false, false);
  pyedge::set_num_threads(4);
  int times = 0;
  for (int repeat = 0; repeat < 5 || (times < 20 && repeat < 100); ++repeat) {
    const check::HoldUp slow;
    const Trained together = train(layers, false, false);
    CHECK(alone.losses == together.losses);
    CHECK(same_bits(alone.numbers, together.numbers));
    times += slow.times();
  }
  CHECK(times >= 20);
  pyedge::set_num_threads(2);
}
#endif

TEST(engine_gradient_is_the_slope_of_the_loss) {
  check::on_each_isa([](const std::string& isa) {
    Engine engine(make_graph());
    engine.set_trainable({"conv2", "head", "norm2"});
    const Batch batch(engine.graph());
    for (const std::string name : {"conv2.weight", "head.bias", "norm2.weight", "norm2.bias"}) {
      const std::vector<float> before = engine.array(name);
      engine.step(batch.images_in(), batch.knowledge());
      const std::vector<float> gradient = engine.gradient(name);
      double square = 0.0;
      for (const float g : gradient) square += static_cast<double>(g) * g;
      // a step of 1e-3 along the gradient, there and back
      double losses[2];
      for (const int sign : {0, 1}) {
        std::vector<float> moved = before;
        const auto far = static_cast<float>((sign ? 1e-3 : -1e-3) / std::sqrt(square));
        for (std::size_t i = 0; i < moved.size(); ++i) moved[i] += far * gradient[i];
        engine.set_array(name, moved.data());
        losses[sign] = engine.step(batch.images_in(), batch.knowledge()).loss;
      }
      engine.set_array(name, before.data());
      const double slope = (losses[1] - losses[0]) / 2e-3;
      // float32 losses' digits over the step, and the ReLUs that bend within it
      CHECK_AT(std::abs(slope - std::sqrt(square)) < 0.02 * std::sqrt(square), isa + " " + name);
    }
  });
}

TEST(engine_takes_batches_of_every_size_in_turn) {
  Engine engine(make_graph());
  const Batch batch(engine.graph());
  std::vector<float> all(images * classes), some(all.size());
  engine.predict(batch.images_in(), all.data());
  for (const std::int64_t n : {1, 4, 0, 9, 2}) {
    pyedge::ImageBatch part = batch.images_in();
    part.n = n;
    engine.predict(part, some.data());
    for (std::size_t i = 0; i < static_cast<std::size_t>(n * classes); ++i) {
      CHECK(std::abs(some[i] - all[i]) <= 1e-5f * (1.0f + std::abs(all[i])));
    }
    CHECK(engine.memory(n, true) >= engine.memory(n, false));
  }
}

TEST(engine_refuses_a_graph_that_reads_beyond_its_arrays) {
  const auto refused = [](const auto& change) {
    Graph graph = make_graph();
    change(graph);
    try {
      Engine engine(std::move(graph));
    } catch (const std::invalid_argument& error) {
      return std::string(error.what()).find("Engine: ") == 0;
    }
    return false;
  };
  CHECK(!refused([](Graph&) {}));
  CHECK(refused([](Graph& g) { g.arrays["conv1.weight"].values.pop_back(); }));
  CHECK(refused([](Graph& g) { g.arrays["conv1.weight"].shape[2] = 5; }));
  CHECK(refused([](Graph& g) { g.arrays["norm1.mean"].shape[0] = 19; }));
  CHECK(refused([](Graph& g) { g.arrays.erase("head.bias"); }));
  CHECK(refused([](Graph& g) { g.nodes[4].weight = "stem.weight"; }));
  CHECK(refused([](Graph& g) { g.nodes[5].position[3] = 33; }));
  CHECK(refused([](Graph& g) { g.nodes[5].position.pop_back(); }));
  CHECK(refused([](Graph& g) { g.nodes[5].inputs[0] = 5; }));
  CHECK(refused([](Graph& g) { g.nodes[4].padding = {-2, 0}; }));
  CHECK(refused([](Graph& g) { g.taps[0] = 99; }));
  CHECK(refused([](Graph& g) { g.output = 3; }));
}
