// Planning one micro-batch: what operators are asked, and what they may ask for.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/channel_sums.hpp"
#include "engine/needs.hpp"
#include "engine/placement.hpp"
#include "engine/plan.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {

class Planner {
 public:
  // `images` out of a batch of `all`.
  Planner(const Graph& graph, const Program& program, const Wishes& wishes, std::int64_t images,
          std::int64_t all, const KernelTable& table, int workers);
  Plan run();

  StepOf of(int step) const { return {graph_, program_, program_.steps[at(step)]}; }
  Plan& plan() { return plan_; }
  const KernelTable& table() const { return table_; }
  std::int64_t images() const { return plan_.n; }
  int workers() const { return workers_; }
  std::int64_t for_workers(std::int64_t floats) const { return workers_ * worker_floats(floats); }
  // How convolutions run, null: in float32.
  const HalfKernels* half_forward() const { return wishes_.half_forward; }
  const HalfKernels* half_gradient() const { return wishes_.half_gradient; }
  Int8Forward int8_forward(int step) const {
    return wishes_.int8_forward.empty() ? Int8Forward{} : wishes_.int8_forward[at(step)];
  }
  bool learns(int step) const { return wishes_.step_learns[at(step)]; }
  bool wants(const View& view) const { return needs_.wants(view); }

  // Of the step that is planned: what it needs while it runs in the forward pass.
  void forward_scratch(int step, std::int64_t floats);
  // Of the step that is planned: whether its result goes past the caches, since none of them holds
  // it when it is read.
  void stream(int step);
  // Of the backward step that is planned: it reads the values of a tensor,
  void bring(int tensor);
  // and gives a gradient of the view's values.
  Target target(const View& view);
  // The second target of a convolution: the residual that it added takes over the gradient of the
  // sum where it lies, if nobody else reads it.
  void residual(BackwardStep& backward);

 private:
  const Tensor& tensor(int index) const { return program_.tensors[at(index)]; }
  std::int64_t sums_floats(const Tensor& t) const {
    return ChannelSums::scratch_floats(plan_.n, t);
  }
  void find_hosts();
  void forward();
  void share_residuals();
  void backward();
  bool by_image(const BackwardStep& step) const;
  bool is_conv(const BackwardStep& step) const;
  bool joins(const BackwardStep& step) const;
  void next(const BackwardStep& step);
  void push(BackwardStep step);
  void plan_taps(int tensor);
  void plan_norms(int tensor);

  const Graph& graph_;
  const Program& program_;
  const Wishes& wishes_;
  const Needs needs_;
  const KernelTable& table_;
  int workers_;
  std::int64_t all_;
  bool split_;
  Plan plan_;
  Lives lives_;
  std::vector<bool> gradient_begun_;
  int loss_time_ = 0;
  int time_ = 0;  // of the step that is planned
};

}  // namespace pyedge
