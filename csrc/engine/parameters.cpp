// Layouts of weights, and the optimizers: SGD with momentum (Nesterov's too) and Adam, as torch
// defines them, weight decay as a part of the gradient.
#include "engine/parameters.hpp"

#include <algorithm>
#include <cmath>

#include "threads/thread_pool.hpp"

namespace pyedge {

void WeightLayout::to_engine(const float* torch, float* engine) const {
  std::fill_n(engine, floats(), 0.0f);
  for (std::int64_t o = 0; o < c_out; ++o) {
    for (std::int64_t i = 0; i < c_in; ++i) {
      for (std::int64_t t = 0; t < taps; ++t) {
        engine[(t * c_in + i) * stride + o] = torch[(o * c_in + i) * taps + t];
      }
    }
  }
}

void WeightLayout::to_torch(const float* engine, float* torch) const {
  for (std::int64_t o = 0; o < c_out; ++o) {
    for (std::int64_t i = 0; i < c_in; ++i) {
      for (std::int64_t t = 0; t < taps; ++t) {
        torch[(o * c_in + i) * taps + t] = engine[(t * c_in + i) * stride + o];
      }
    }
  }
}

int Parameters::add(const Graph& graph, int node, const std::string& name,
                    const WeightLayout& layout) {
  const auto known = by_name_.find(name);
  if (known != by_name_.end()) return known->second;
  const Array& array = graph.array(name);
  Parameter p;
  p.name = name;
  p.shape = array.shape;
  p.layout = layout;
  p.values = Buffer(layout.floats());
  p.node = node;
  layout.to_engine(array.values.data(), p.values.data());
  all_.push_back(std::move(p));
  return by_name_[name] = static_cast<int>(all_.size()) - 1;
}

int Parameters::find(const std::string& name) const {
  const auto known = by_name_.find(name);
  return known == by_name_.end() ? -1 : known->second;
}

void Parameters::set_trainable(const std::vector<bool>& by_node, bool adam) {
  steps = 0;
  // Before any is made anew: a system's heap fills such gaps, but does not give them back.
  for (Parameter& p : all_) {
    for (Buffer* buffer : {&p.gradient, &p.first, &p.second}) *buffer = Buffer();
  }
  for (Parameter& p : all_) {
    p.trainable = by_node[static_cast<std::size_t>(p.node)];
    p.gradient = p.trainable ? Buffer(p.layout.floats()) : Buffer();
    p.first = p.trainable ? Buffer(p.layout.floats()) : Buffer();
    p.second = p.trainable && adam ? Buffer(p.layout.floats()) : Buffer();
  }
}

void Parameters::clear_gradients() {
  for (Parameter& p : all_) {
    if (p.trainable) std::fill_n(p.gradient.data(), p.gradient.floats(), 0.0f);
  }
}

double Parameters::gradient_norm() const {
  double total = 0.0;
  for (const Parameter& p : all_) {
    if (!p.trainable) continue;
    // eight sums, so that additions need not wait for each other; the order is fixed
    double sums[8] = {};
    const float* g = p.gradient.data();
    const std::int64_t floats = p.layout.floats();
    std::int64_t i = 0;
    for (; i + 8 <= floats; i += 8) {
      for (int j = 0; j < 8; ++j) sums[j] += static_cast<double>(g[i + j]) * g[i + j];
    }
    for (; i < floats; ++i) sums[0] += static_cast<double>(g[i]) * g[i];
    for (const double sum : sums) total += sum;
  }
  return std::sqrt(total);
}

void Parameters::update(const OptimizerSettings& o, double lr, double norm) {
  ++steps;
  const double share = o.clip > 0.0 ? std::min(1.0, o.clip / (norm + 1e-6)) : 1.0;
  const auto scale = static_cast<float>(share), decay = static_cast<float>(o.weight_decay);
  const auto rate = static_cast<float>(lr), momentum = static_cast<float>(o.momentum);
  const double step = static_cast<double>(steps);
  const auto correction = static_cast<float>(1.0 / (1.0 - std::pow(o.beta1, step)));
  const auto correction2 = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, step)));
  const auto beta1 = static_cast<float>(o.beta1), beta2 = static_cast<float>(o.beta2);
  const auto epsilon = static_cast<float>(o.epsilon);
  constexpr std::int64_t piece = 1 << 15;
  for (Parameter& p : all_) {
    if (!p.trainable) continue;
    ++p.version;
    float *w = p.values.data(), *m = p.first.data(), *v = p.second.data();
    const float* gradient = p.gradient.data();
    const std::int64_t floats = p.layout.floats();
    parallel_for((floats + piece - 1) / piece, [&](std::int64_t item) {
      const std::int64_t end = std::min(floats, (item + 1) * piece);
      for (std::int64_t i = item * piece; i < end; ++i) {
        const float g = scale * gradient[i] + decay * w[i];
        if (o.adam) {
          m[i] = beta1 * m[i] + (1.0f - beta1) * g;
          v[i] = beta2 * v[i] + (1.0f - beta2) * g * g;
          w[i] -= rate * correction * m[i] / (std::sqrt(v[i]) * correction2 + epsilon);
        } else {
          m[i] = momentum * m[i] + g;
          w[i] -= rate * (o.nesterov ? g + momentum * m[i] : m[i]);
        }
      }
    });
  }
}

std::int64_t Parameters::bytes() const {
  std::int64_t floats = 0;
  for (const Parameter& p : all_) {
    floats += p.values.floats() + p.gradient.floats() + p.first.floats() + p.second.floats();
  }
  return floats * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace pyedge
