#include "engine/norms.hpp"

#include <algorithm>
#include <cmath>

namespace pyedge {

NormState::NormState(const Graph& graph, const Program& program, const Norm& norm,
                     Parameters& parameters)
    : has_statistics_(norm.has_statistics) {
  const Node& node = graph.nodes[at(norm.node)];
  const Tensor& t = program.tensors[at(norm.tensor)];
  const WeightLayout layout{t.c, 1, 1, t.stride};
  channels_ = t.c;
  stride_ = t.stride;
  eps_ = node.eps;
  weight_ = parameters.add(graph, norm.node, node.weight, layout);
  bias_ = parameters.add(graph, norm.node, node.bias, layout);
  if (has_statistics_) {
    mean = graph.array(node.mean).values;
    variance = graph.array(node.variance).values;
  }
  running_ = {Buffer(stride_), Buffer(stride_)};
}

void NormState::fold(const Parameters& parameters) {
  const float *weight = parameters[weight_].values.data(), *bias = parameters[bias_].values.data();
  for (std::int64_t c = 0; c < channels_; ++c) {
    const auto k = static_cast<std::size_t>(c);
    double scale = weight[c], middle = 0.0;
    if (has_statistics_) {
      scale /= std::sqrt(static_cast<double>(variance[k]) + eps_);
      middle = mean[k];
    }
    running_.scale.data()[c] = static_cast<float>(scale);
    running_.shift.data()[c] = static_cast<float>(bias[c] - middle * scale);
  }
}

void NormState::gather(const Parameters& parameters, const ChannelSums& sums, double count) {
  if (of_batch_.scale.floats() == 0) of_batch_ = {Buffer(stride_), Buffer(stride_)};
  const auto channels = static_cast<std::size_t>(channels_);
  for (std::vector<double>* each : {&batch_mean_, &batch_inverse_}) each->resize(channels);
  for (std::vector<float>* each : {&next_mean_, &next_variance_}) each->resize(channels);
  const float *weight = parameters[weight_].values.data(), *bias = parameters[bias_].values.data();
  const double unbiased = count > 1.0 ? count / (count - 1.0) : 1.0;
  constexpr double momentum = 0.1;  // torch's
  for (std::int64_t c = 0; c < channels_; ++c) {
    const auto k = static_cast<std::size_t>(c);
    const double middle = sums.of_a(c) / count;
    const double spread = std::max(sums.of_product(c) / count - middle * middle, 0.0);
    batch_mean_[k] = middle;
    batch_inverse_[k] = 1.0 / std::sqrt(spread + eps_);
    const double scale = weight[c] * batch_inverse_[k];
    of_batch_.scale.data()[c] = static_cast<float>(scale);
    of_batch_.shift.data()[c] = static_cast<float>(bias[c] - middle * scale);
    next_mean_[k] = static_cast<float>((1.0 - momentum) * mean[k] + momentum * middle);
    next_variance_[k] =
        static_cast<float>((1.0 - momentum) * variance[k] + momentum * spread * unbiased);
  }
}

void NormState::take_batch() {
  if (!has_statistics_) return;
  mean = next_mean_;
  variance = next_variance_;
}

NormState::Factors NormState::backward(Parameters& parameters, const ChannelSums& sums,
                                       double count, Statistics statistics) const {
  const bool batch = statistics == Statistics::of_batch && has_statistics_;
  const auto stride = static_cast<std::size_t>(stride_);
  Factors found{std::vector<float>(stride), std::vector<float>(stride), std::vector<float>(stride)};
  Parameter &weight = parameters[weight_], &bias = parameters[bias_];
  for (std::int64_t c = 0; c < channels_; ++c) {
    const auto k = static_cast<std::size_t>(c);
    const double sum = sums.of_a(c), product = sums.of_product(c);
    double middle = 0.0, inverse = 1.0;
    if (batch) {
      middle = batch_mean_[k];
      inverse = batch_inverse_[k];
    } else if (has_statistics_) {
      middle = mean[k];
      inverse = 1.0 / std::sqrt(static_cast<double>(variance[k]) + eps_);
    }
    const double of_weight = inverse * (product - middle * sum);
    if (weight.trainable) weight.gradient.data()[c] += static_cast<float>(of_weight);
    if (bias.trainable) bias.gradient.data()[c] += static_cast<float>(sum);
    const double scale = weight.values.data()[c] * inverse;
    found.by_gradient[k] = static_cast<float>(scale);
    if (batch) {
      found.by_map[k] = static_cast<float>(-scale * inverse * of_weight / count);
      // of the rounded factors, so that the gradients of a channel add up to zero as they should
      found.constant[k] =
          static_cast<float>(-(found.by_gradient[k] * sum / count + found.by_map[k] * middle));
    }
  }
  return found;
}

std::int64_t NormState::bytes() const {
  // those of a batch are counted from the beginning
  return 4 * running_.scale.floats() * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace pyedge
