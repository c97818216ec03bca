// Setting an engine up, and its batches: plans, what is trainable, answers, steps.
#include "engine/engine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <utility>

#include "engine/steps/convolution.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

Engine::Engine(Graph graph) : network_(std::move(graph)) {}

void Engine::set_trainable(const std::vector<std::string>& nodes) {
  std::vector<bool> wanted(network_.graph.nodes.size(), false);
  for (const std::string& name : nodes) {
    const auto found = std::find_if(network_.graph.nodes.begin(), network_.graph.nodes.end(),
                                    [&](const Node& n) { return n.name == name; });
    if (found == network_.graph.nodes.end()) {
      throw std::invalid_argument("set_trainable: no node is called '" + name + "'");
    }
    if (!found->op->learns()) {
      throw std::invalid_argument("set_trainable: node '" + name + "' has no weights");
    }
    wanted[static_cast<std::size_t>(found - network_.graph.nodes.begin())] = true;
  }
  network_.parameters.set_trainable(wanted, optimizer_.adam);
  network_.trainable = wanted;
  forget_plans();
}

void Engine::set_statistics(Statistics statistics) {
  statistics_ = statistics;
  forget_plans();
}

void Engine::set_micro_batch(std::int64_t images) {
  if (images < 0) {
    throw std::invalid_argument("set_micro_batch: images: wanted a number from 0, got " +
                                std::to_string(images));
  }
  micro_batch_ = images;
  forget_plans();
}

void Engine::set_precision(Precision precision) {
  if (precision == Precision::half && half_kernels(network_.table) == nullptr) {
    throw std::invalid_argument(
        std::string("set_precision: precision: wanted float32, since the ") + network_.table.name +
        " path of this CPU has no half precision, got half");
  }
  if (precision == Precision::int8 && int8_kernels(network_.table) == nullptr) {
    throw std::invalid_argument(
        std::string("set_precision: precision: wanted float32, since the ") + network_.table.name +
        " path of this CPU has no products of 8 bits, got int8");
  }
  if (precision == Precision::int8 &&
      std::none_of(network_.input_scales.begin(), network_.input_scales.end(),
                   [](const InputScale& input) { return input.scale > 0.0f; })) {
    throw std::invalid_argument(
        "set_precision: precision: wanted float32 or half, since no input has a scale, got int8");
  }
  precision_ = precision;
  forget_plans();
}

void Engine::set_input_scales(const std::map<std::string, InputScale>& scales) {
  if (precision_ == Precision::int8 && scales.empty()) {
    throw std::invalid_argument(
        "set_input_scales: scales: wanted one at least in 8 bits, got none");
  }
  std::vector<InputScale> found(network_.graph.nodes.size());
  for (const auto& [name, input] : scales) {
    if (!(input.scale >= std::numeric_limits<float>::min()) || !std::isfinite(1.0f / input.scale) ||
        !std::isfinite(input.scale) || input.zero_point < 0 || input.zero_point > 255) {
      throw std::invalid_argument("set_input_scales: '" + name +
                                  "': wanted a scale above 0 and a zero point from 0 to 255, got " +
                                  std::to_string(input.scale) + " and " +
                                  std::to_string(input.zero_point));
    }
    found[at(network_.program.steps[at(weighted_step(name))].node)] = input;
  }
  network_.input_scales = found;
  for (Weights& weights : network_.weights) weights.forward_version = 0;  // scales are packed too
  forget_plans();
}

void Engine::set_optimizer(const OptimizerSettings& settings) {
  optimizer_ = settings;
  network_.parameters.set_trainable(network_.trainable, settings.adam);
  gradients_ready_ = false;
}

void Engine::set_preprocessing(const Preprocessing& preprocessing) {
  if (preprocessing.kind == Preprocessing::Kind::channel) {
    const auto c = static_cast<std::size_t>(network_.graph.input.c);
    if (preprocessing.mean.size() != c || preprocessing.deviation.size() != c) {
      throw std::invalid_argument("set_preprocessing: wanted a mean and a deviation for each of " +
                                  std::to_string(c) + " channels, got " +
                                  std::to_string(preprocessing.mean.size()) + " and " +
                                  std::to_string(preprocessing.deviation.size()));
    }
    for (std::size_t i = 0; i < c; ++i) {
      if (!std::isfinite(preprocessing.mean[i]) || !(preprocessing.deviation[i] > 0.0f) ||
          !std::isfinite(preprocessing.deviation[i])) {
        throw std::invalid_argument(
            "set_preprocessing: wanted finite means and positive deviations, got " +
            std::to_string(preprocessing.mean[i]) + " and " +
            std::to_string(preprocessing.deviation[i]) + " for channel " + std::to_string(i));
      }
    }
  }
  preprocessing_ = preprocessing;
}

void Engine::forget_plans() {
  for (std::unique_ptr<BatchPlan>& each : plans_) each.reset();
  arena_ = Buffer();
  gradients_ready_ = false;
}

std::int64_t Engine::classes() const {
  return network_.program.tensors[at(network_.program.output.tensor)].c;
}

Wishes Engine::wishes(For what) const {
  const bool training = what == For::learning;
  Wishes w;
  w.training = training;
  w.apart = what == For::apart;
  if (precision_ == Precision::half) {
    (training ? w.half_gradient : w.half_forward) =
        what == For::apart ? nullptr : half_kernels(network_.table);
  }
  w.batch_statistics = training && statistics_ == Statistics::of_batch;
  for (const Step& step : network_.program.steps) {
    w.step_learns.push_back(step.op->learns() && network_.trainable[at(step.node)]);
    if (precision_ == Precision::int8 && what == For::answers) {
      const InputScale input = step.node < 0 ? InputScale{} : network_.input_scales[at(step.node)];
      const bool scaled = input.scale > 0.0f && step.op->convolves();
      w.int8_forward.push_back({scaled ? int8_kernels(network_.table) : nullptr, input});
    }
  }
  for (const Norm& norm : network_.program.norms)
    w.norm_learns.push_back(network_.trainable[at(norm.node)]);
  return w;
}

std::int64_t Engine::memory(std::int64_t n, bool training) const {
  const auto floats = [&](For what) { return new_plan(n, what, num_threads()).floats; };
  std::int64_t most = floats(training ? For::learning : For::answers);
  // the features of answers in 8 bits are float32's
  if (!training && precision_ == Precision::int8) most = std::max(most, floats(For::watched));
  // behind the last step scales are made anew, of what every layer reads: no chain hides a map
  const auto& scales = network_.input_scales;
  const auto given = [](const InputScale& each) { return each.scale > 0.0f; };
  if (training && std::any_of(scales.begin(), scales.end(), given)) {
    most = std::max(most, floats(For::apart));
  }
  return most * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t Engine::weight_bytes() const {
  // packed copies come with the first step; they are counted from the beginning
  const Plan training = new_plan(1, For::learning, 1).each;
  std::int64_t floats = 0;
  for (std::size_t i = 0; i < network_.program.steps.size(); ++i) {
    if (network_.program.steps[i].op->convolves()) {
      floats += packed_floats(training, static_cast<int>(i));
    }
  }
  for (const BackwardStep& b : training.backward) {
    if (b.kind != BackwardKind::step || !network_.of(b.index).step.op->convolves()) continue;
    floats += packed_floats(training, b);
  }
  std::int64_t bytes = floats * static_cast<std::int64_t>(sizeof(float));
  for (const NormState& norm : network_.norms) bytes += norm.bytes();
  return bytes + network_.parameters.bytes();
}

BatchPlan Engine::new_plan(std::int64_t n, For what, int workers) const {
  return make_plan(network_.graph, network_.program, wishes(what), n, micro_batch_, network_.table,
                   workers);
}

const BatchPlan& Engine::plan(std::int64_t n, For what) {
  const int workers = num_threads();
  if (workers != workers_) {
    for (std::unique_ptr<BatchPlan>& each : plans_) each.reset();
    workers_ = workers;
  }
  std::unique_ptr<BatchPlan>& mine = plans_[static_cast<std::size_t>(what)];
  if (!mine || mine->n != n) {
    mine = std::make_unique<BatchPlan>(new_plan(n, what, workers));
  }
  if (arena_.floats() < mine->floats) {
    arena_ = Buffer();  // not both at once
    arena_ = Buffer(mine->floats);
  }
  return *mine;
}

int Engine::linear_step(const std::optional<std::string>& node) const {
  const auto named = [&](int index) {
    const auto found = std::find_if(network_.program.steps.begin(), network_.program.steps.end(),
                                    [&](const Step& s) { return s.node == index; });
    return static_cast<int>(found - network_.program.steps.begin());
  };
  if (node) {
    for (std::size_t i = 0; i < network_.graph.nodes.size(); ++i) {
      const Node& found = network_.graph.nodes[i];
      if (found.name == *node && found.op->linear()) return named(static_cast<int>(i));
    }
    throw std::invalid_argument("features: no linear node is called '" + *node + "'");
  }
  int index = network_.graph.output;
  while (network_.graph.nodes[at(index)].op->ends()) {
    index = network_.graph.nodes[at(index)].inputs[0];
  }
  if (network_.graph.nodes[at(index)].op->linear()) return named(index);
  throw std::invalid_argument(
      "features: the output is not a linear node's, nor one's through affines and channel pads; "
      "name the node");
}

int Engine::weighted_step(const std::string& node) const {
  const std::vector<Step>& steps = network_.program.steps;
  const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& s) {
    return s.node >= 0 && s.op->learns() && network_.graph.nodes[at(s.node)].name == node;
  });
  if (found != steps.end()) return static_cast<int>(found - steps.begin());
  throw std::invalid_argument("set_input_scales: no conv2d or linear node is called '" + node +
                              "'");
}

std::int64_t Engine::feature_count(int linear_step) const {
  const Tensor& t =
      network_.program.tensors[at(network_.program.steps[at(linear_step)].in[0].tensor)];
  return t.c * t.h * t.w;
}

void Engine::predict(const ImageBatch& images, float* logits) {
  answer(images, {}, For::answers, logits);
}

void Engine::features(const ImageBatch& images, int linear_step, float* features, float* logits) {
  answer(images, {linear_step, features, {}},
         precision_ == Precision::int8 ? For::watched : For::answers, logits);
}

std::map<std::string, std::vector<float>> Engine::input_ranges(const ImageBatch& images) {
  std::map<std::string, std::vector<float>> found;
  Watched watched;
  for (std::size_t i = 0; i < network_.program.steps.size(); ++i) {
    const StepOf of = network_.of(static_cast<int>(i));
    watched.ranges.push_back(nullptr);
    if (!of.step.op->convolves() || conv_shape(of, 1).groups > 1) continue;
    std::vector<float>& mine = found[of.node().name];
    mine.resize(static_cast<std::size_t>(2 * images.n));
    watched.ranges.back() = mine.data();
  }
  std::vector<float> logits(static_cast<std::size_t>(images.n * classes()));
  answer(images, watched, For::apart, logits.data());
  return found;
}

void Engine::answer(const ImageBatch& images, const Watched& watched, For what, float* logits) {
  if (images.n == 0) return;
  gradients_ready_ = false;  // the arena is used anew
  const BatchPlan& batch = plan(images.n, what);
  Pass pass(network_, arena_.data(), preprocessing_, Statistics::running, images, nullptr, watched,
            profile_);
  const int output = network_.program.output.tensor;
  const std::int64_t stride = network_.tensor(output).stride;
  batch.for_each([&](const Plan& p, std::int64_t first) {
    pass.forward(p, first);
    const float* from = pass.tensor(output);
    for (std::int64_t i = 0; i < p.n; ++i) {
      std::copy_n(from + i * stride, classes(), logits + (first + i) * classes());
    }
  });
}

StepResult Engine::step(const ImageBatch& images, const Knowledge& knowledge) {
  gradients_ready_ = false;
  const BatchPlan& batch = plan(images.n, For::learning);
  Pass pass(network_, arena_.data(), preprocessing_, statistics_, images, &knowledge, {}, profile_);
  batch.for_each([&](const Plan& p, std::int64_t first) { pass.forward(p, first); });
  StepResult result = pass.losses(batch.each);
  if (!std::isfinite(result.loss)) throw NotFinite("the loss");
  network_.parameters.clear_gradients();
  batch.for_each([&](const Plan& p, std::int64_t first) { pass.backward(p, first); });
  profile_.timed("gradient norm", "backward",
                 [&] { gradient_norm_ = network_.parameters.gradient_norm(); });
  result.gradient_norm = gradient_norm_;
  if (!std::isfinite(gradient_norm_)) throw NotFinite("a gradient");
  gradients_ready_ = true;
  return result;
}

void Engine::update(double lr) {
  if (!gradients_ready_) throw std::logic_error("update: there are no gradients; call step first");
  network_.parameters.update(optimizer_, lr, gradient_norm_);
  if (statistics_ == Statistics::of_batch) {
    for (NormState& norm : network_.norms) norm.take_batch();
  }
  network_.fold_norms();
  gradients_ready_ = false;
}

}  // namespace pyedge
