// The engine without Python: a small student learns, to the same bits on any number of threads.
#include "engine/engine.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <optional>
#include <stdexcept>

#include "check.hpp"
#include "hold_up.hpp"
#include "small_student.hpp"
#include "threads/thread_pool.hpp"

using pyedge::Engine;
using pyedge::Graph;
using pyedge::Node;

using check::classes;
using check::images;
using check::LessonBatch;
using check::make_graph;

namespace {

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
  engine.set_statistics(batch_statistics ? pyedge::Statistics::of_batch
                                         : pyedge::Statistics::running);
  pyedge::OptimizerSettings optimizer;
  optimizer.adam = adam;
  engine.set_optimizer(optimizer);
  engine.set_preprocessing({pyedge::Preprocessing::Kind::image, {}, {}});
  const LessonBatch batch(engine.graph());
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
    const LessonBatch batch(engine.graph());
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
  const LessonBatch batch(engine.graph());
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

TEST(engine_features_are_what_the_classifier_reads_in_any_batch_and_on_any_number_of_threads) {
  check::on_each_isa([](const std::string& isa) {
    // maps behind the classifier, which take the memory of what it read
    Graph graph = make_graph();
    const std::vector<float> weight = graph.arrays["head.weight"].values,
                             bias = graph.arrays["head.bias"].values;
    Node pad;
    pad.op = pyedge::op_named("channel_pad");
    pad.name = "tail";
    pad.inputs = {graph.output};
    pad.channels = 70;
    pad.position = {66, 0, 1};
    graph.nodes.push_back(pad);
    ++graph.output;
    pyedge::set_num_threads(1);
    Engine engine(graph);
    const LessonBatch batch(engine.graph());
    const int head = engine.linear_step(std::nullopt);
    const auto f = static_cast<std::size_t>(engine.feature_count(head));
    CHECK_AT(f == weight.size() / classes && head == engine.linear_step("head"), isa);
    std::vector<float> features(images * f), logits(images * 70), alone(logits.size());
    engine.features(batch.images_in(), head, features.data(), logits.data());
    engine.predict(batch.images_in(), alone.data());
    CHECK_AT(same_bits(logits, alone), isa);
    for (std::size_t i = 0; i < images; ++i) {
      for (std::size_t k = 0; k < classes; ++k) {
        double sum = bias[k];
        for (std::size_t c = 0; c < f; ++c) {
          sum += static_cast<double>(weight[k * f + c]) * features[i * f + c];
        }
        const auto place = static_cast<std::size_t>(pad.position[k]);
        CHECK_AT(std::abs(logits[i * 70 + place] - sum) <= 1e-5 * (1.0 + std::abs(sum)), isa);
      }
    }
    for (const int threads : {2, 3}) {
      pyedge::set_num_threads(threads);
      std::vector<float> some(features.size()), answers(logits.size());
      for (std::int64_t first = 0; first < images; first += threads) {
        pyedge::ImageBatch part = batch.images_in();
        part.n = std::min<std::int64_t>(threads, images - first);
        part.rows += first;
        const auto at = static_cast<std::size_t>(first);
        engine.features(part, head, some.data() + at * f, answers.data() + at * 70);
      }
      CHECK_AT(same_bits(some, features) && same_bits(answers, logits), isa);
    }
  });
  pyedge::set_num_threads(2);
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
