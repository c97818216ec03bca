// Batch norms and affines in numbers: what readers of their tensor apply, and what they learn.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/buffer.hpp"
#include "engine/channel_sums.hpp"
#include "engine/parameters.hpp"
#include "engine/program.hpp"

namespace pyedge {

// Which statistics a batch norm applies, in a pass.
enum class Statistics { running, of_batch };

class NormState {
 public:
  NormState(const Graph& graph, const Program& program, const Norm& norm, Parameters& parameters);

  // Makes scale and shift of the running statistics, weight and bias.
  void fold(const Parameters& parameters);
  // Makes those of a batch: sums of x and x x over `count` numbers a channel.
  void gather(const Parameters& parameters, const ChannelSums& sums, double count);
  // The running statistics become those after the batch.
  void take_batch();

  const float* scale(Statistics statistics) const { return lens(statistics).scale.data(); }
  const float* shift(Statistics statistics) const { return lens(statistics).shift.data(); }

  // The gradient of the tensor's value x is by_gradient g + by_map x + constant, g that of the
  // norm's result.
  struct Factors {
    std::vector<float> by_gradient, by_map, constant;  // [stride]
  };
  // Adds to the gradients of weight and bias: sums of g and g x over `count` numbers a channel.
  Factors backward(Parameters& parameters, const ChannelSums& sums, double count,
                   Statistics statistics) const;

  bool has_statistics() const { return has_statistics_; }
  std::vector<float> mean, variance;  // running, [c]
  std::int64_t bytes() const;

 private:
  struct Folded {
    Buffer scale, shift;  // [stride]
  };
  const Folded& lens(Statistics statistics) const {
    return statistics == Statistics::of_batch && has_statistics_ ? of_batch_ : running_;
  }

  std::int64_t channels_, stride_;
  double eps_;
  bool has_statistics_;
  int weight_, bias_;  // parameters
  Folded running_, of_batch_;
  std::vector<double> batch_mean_, batch_inverse_;  // inverse deviation
  std::vector<float> next_mean_, next_variance_;    // running ones after this batch
};

}  // namespace pyedge
