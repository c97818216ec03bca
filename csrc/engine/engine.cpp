// Setting an engine up: weights, norms, plans, what is trainable, what goes in and out.
#include "engine/engine.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "engine/kernel_terms.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/match/cosine_match.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// See ChannelPlaces. Empty where positions do not rise one after another.
std::vector<LaneStep> lane_steps(const std::vector<std::int32_t>& position, std::int64_t out_stride,
                                 const KernelTable& table) {
  const std::vector<std::int64_t> kept(position.begin(), position.end());
  const bool rise =
      std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end();
  if (!rise || kept.empty() || kept.front() < 0) return {};
  return ChannelMap(kept.data(), static_cast<std::int64_t>(kept.size()), out_stride, table).steps;
}

}  // namespace

Engine::Engine(Graph graph) : graph_(std::move(graph)), table_(&kernel_table()) {
  graph_.check();
  program_ = lower(graph_, table_->lanes);
  trainable_.assign(graph_.nodes.size(), false);
  convs_.resize(program_.steps.size());
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (step.kind != StepKind::conv) continue;
    const Node& node = graph_.nodes[at(step.node)];
    const ConvShape s = conv_shape(graph_, program_, step, 1);
    convs_[i].weight = parameters_.add(graph_, step.node, node.weight,
                                       {s.c_out, s.c_in, s.taps(), s.out_stride, node.groups});
    if (!node.bias.empty()) {
      convs_[i].bias = parameters_.add(graph_, step.node, node.bias, {s.c_out, 1, 1, s.out_stride});
    }
  }
  for (const Norm& norm : program_.norms) {
    const Node& node = graph_.nodes[at(norm.node)];
    const Tensor& t = program_.tensors[at(norm.tensor)];
    const WeightLayout layout{t.c, 1, 1, t.stride};
    NormState state;
    state.weight = parameters_.add(graph_, norm.node, node.weight, layout);
    state.bias = parameters_.add(graph_, norm.node, node.bias, layout);
    if (norm.has_statistics) {
      state.mean = graph_.array(node.mean).values;
      state.variance = graph_.array(node.variance).values;
    }
    state.scale = Buffer(t.stride);
    state.shift = Buffer(t.stride);
    norms_.push_back(std::move(state));
  }
  for (const Step& step : program_.steps) {
    lane_steps_.push_back(step.kind == StepKind::channel_pad
                              ? lane_steps(graph_.nodes[at(step.node)].position,
                                           program_.tensors[at(step.out)].stride, *table_)
                              : std::vector<LaneStep>());
  }
  // the weights live in the engine's layout from here on
  for (auto& [name, array] : graph_.arrays) std::vector<float>().swap(array.values);
#if defined(__GLIBC__)
  malloc_trim(0);  // or the process keeps them
#endif
  parameters_.set_trainable(trainable_, false);
  fold_norms();
}

ChannelPlaces Engine::places(int step) const {
  const std::vector<std::int32_t>& position =
      graph_.nodes[at(program_.steps[at(step)].node)].position;
  const std::vector<LaneStep>& steps = lane_steps_[at(step)];
  return {position.data(), steps.empty() ? nullptr : steps.data(),
          static_cast<std::int64_t>(position.size())};
}

void Engine::fold_norms() {
  for (std::size_t i = 0; i < norms_.size(); ++i) {
    NormState& n = norms_[i];
    const Norm& norm = program_.norms[i];
    const Node& node = graph_.nodes[at(norm.node)];
    const float *weight = parameters_[n.weight].values.data(),
                *bias = parameters_[n.bias].values.data();
    for (std::int64_t c = 0; c < program_.tensors[at(norm.tensor)].c; ++c) {
      const auto k = static_cast<std::size_t>(c);
      double scale = weight[c], mean = 0.0;
      if (norm.has_statistics) {
        scale /= std::sqrt(static_cast<double>(n.variance[k]) + node.eps);
        mean = n.mean[k];
      }
      n.scale.data()[c] = static_cast<float>(scale);
      n.shift.data()[c] = static_cast<float>(bias[c] - mean * scale);
    }
  }
}

void Engine::set_trainable(const std::vector<std::string>& nodes) {
  std::vector<bool> wanted(graph_.nodes.size(), false);
  for (const std::string& name : nodes) {
    const auto found = std::find_if(graph_.nodes.begin(), graph_.nodes.end(),
                                    [&](const Node& n) { return n.name == name; });
    if (found == graph_.nodes.end()) {
      throw std::invalid_argument("set_trainable: no node is called '" + name + "'");
    }
    if (found->op != Op::conv2d && found->op != Op::linear && found->op != Op::batch_norm &&
        found->op != Op::affine) {
      throw std::invalid_argument("set_trainable: node '" + name + "' has no weights");
    }
    wanted[static_cast<std::size_t>(found - graph_.nodes.begin())] = true;
  }
  parameters_.set_trainable(wanted, optimizer_.adam);
  trainable_ = wanted;
  forget_plans();
}

void Engine::set_batch_statistics(bool on) {
  batch_statistics_ = on;
  forget_plans();
}

void Engine::set_micro_batch(std::int64_t images) {
  if (images < 0) throw std::invalid_argument("set_micro_batch: wants 0 or more images");
  micro_batch_ = images;
  forget_plans();
}

void Engine::set_optimizer(const OptimizerSettings& settings) {
  optimizer_ = settings;
  parameters_.set_trainable(trainable_, settings.adam);
  gradients_ready_ = false;
}

void Engine::set_preprocessing(const Preprocessing& preprocessing) {
  if (preprocessing.kind == Preprocessing::Kind::channel) {
    const auto c = static_cast<std::size_t>(graph_.input.c);
    if (preprocessing.mean.size() != c || preprocessing.deviation.size() != c) {
      throw std::invalid_argument(
          "set_preprocessing: want a mean and a deviation for each channel");
    }
    for (std::size_t i = 0; i < c; ++i) {
      if (!std::isfinite(preprocessing.mean[i]) || !(preprocessing.deviation[i] > 0.0f) ||
          !std::isfinite(preprocessing.deviation[i])) {
        throw std::invalid_argument("set_preprocessing: means must be finite, deviations positive");
      }
    }
  }
  preprocessing_ = preprocessing;
}

void Engine::forget_plans() {
  plans_[0].reset();
  plans_[1].reset();
  arena_ = Buffer();
  gradients_ready_ = false;
}

std::int64_t Engine::classes() const {
  return program_.tensors[at(program_.output.tensor)].c;
}

Wishes Engine::wishes(bool training) const {
  Wishes w;
  w.training = training;
  w.batch_statistics = training && batch_statistics_;
  for (const Step& step : program_.steps) {
    w.step_learns.push_back(step.kind == StepKind::conv && trainable_[at(step.node)]);
  }
  for (const Norm& norm : program_.norms) w.norm_learns.push_back(trainable_[at(norm.node)]);
  return w;
}

std::int64_t Engine::memory(std::int64_t n, bool training) const {
  return new_plan(n, training, num_threads()).floats * static_cast<std::int64_t>(sizeof(float));
}

std::int64_t Engine::weight_bytes() const {
  // packed copies come with the first step; they are counted from the beginning
  const Plan training = new_plan(1, true, 1).each;
  std::int64_t floats = 0;
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (program_.steps[i].kind == StepKind::conv) floats += training.forward[i].packed_floats();
  }
  for (const BackwardStep& b : training.backward) {
    if (b.kind != BackwardKind::step || b.target[0].index < 0) continue;
    if (program_.steps[at(b.index)].kind != StepKind::conv) continue;
    floats += training.input_gradient[at(b.index)].packed_floats();
  }
  for (const NormState& n : norms_) floats += 4 * n.scale.floats();
  return floats * static_cast<std::int64_t>(sizeof(float)) + parameters_.bytes();
}

BatchPlan Engine::new_plan(std::int64_t n, bool training, int workers) const {
  return make_plan(graph_, program_, wishes(training), n, micro_batch_, *table_, workers);
}

const BatchPlan& Engine::plan(std::int64_t n, bool training) {
  const int workers = num_threads();
  if (workers != workers_) {
    plans_[0].reset();
    plans_[1].reset();
    workers_ = workers;
  }
  std::unique_ptr<BatchPlan>& mine = plans_[training ? 1 : 0];
  if (!mine || mine->n != n) {
    mine = std::make_unique<BatchPlan>(new_plan(n, training, workers));
  }
  if (arena_.floats() < mine->floats) {
    arena_ = Buffer();  // not both at once
    arena_ = Buffer(mine->floats);
  }
  return *mine;
}

int Engine::linear_step(const std::optional<std::string>& node) const {
  const auto named = [&](int index) {
    const auto found = std::find_if(program_.steps.begin(), program_.steps.end(),
                                    [&](const Step& s) { return s.node == index; });
    return static_cast<int>(found - program_.steps.begin());
  };
  if (node) {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
      const Node& found = graph_.nodes[i];
      if (found.name == *node && found.op == Op::linear) return named(static_cast<int>(i));
    }
    throw std::invalid_argument("features: no linear node is called '" + *node + "'");
  }
  int index = graph_.output;
  while (graph_.nodes[at(index)].op == Op::affine ||
         graph_.nodes[at(index)].op == Op::channel_pad) {
    index = graph_.nodes[at(index)].inputs[0];
  }
  if (graph_.nodes[at(index)].op == Op::linear) return named(index);
  throw std::invalid_argument(
      "features: the output is not a linear node's, nor one's through affines and channel pads; "
      "name the node");
}

std::int64_t Engine::feature_count(int linear_step) const {
  const Tensor& t = program_.tensors[at(program_.steps[at(linear_step)].in[0].tensor)];
  return t.c * t.h * t.w;
}

void Engine::predict(const ImageBatch& images, float* logits) {
  answer(images, {}, logits);
}

void Engine::features(const ImageBatch& images, int linear_step, float* features, float* logits) {
  answer(images, {linear_step, features}, logits);
}

void Engine::answer(const ImageBatch& images, const Watched& watched, float* logits) {
  if (images.n == 0) return;
  gradients_ready_ = false;  // the arena is used anew
  const std::int64_t stride = program_.tensors[at(program_.output.tensor)].stride;
  plan(images.n, false).for_each([&](const Plan& p, std::int64_t first) {
    first_ = first;
    run_forward(p, part_of(images, first, p.n), false, nullptr, watched);
    const float* from = tensor(p, program_.output.tensor);
    for (std::int64_t i = 0; i < p.n; ++i) {
      std::copy_n(from + i * stride, classes(), logits + (first + i) * classes());
    }
  });
}

void Engine::update(double lr) {
  if (!gradients_ready_) throw std::logic_error("update: there are no gradients; call step first");
  parameters_.update(optimizer_, lr, gradient_norm_);
  if (batch_statistics_) {
    for (std::size_t i = 0; i < norms_.size(); ++i) {
      if (!program_.norms[i].has_statistics) continue;
      norms_[i].mean = norms_[i].next_mean;
      norms_[i].variance = norms_[i].next_variance;
    }
  }
  fold_norms();
  gradients_ready_ = false;
}

std::vector<OperationTime> Engine::take_profile() {
  return std::exchange(profile_, {});
}

}  // namespace pyedge
