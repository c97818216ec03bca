// What operators do by default: a step of its own, each input's gradient that of the result.
#include "engine/steps/operator.hpp"

#include <stdexcept>

#include "engine/lowering.hpp"
#include "engine/pass.hpp"
#include "engine/planner.hpp"

namespace pyedge {

View Operator::lower(Lowering& lowering, int node) const {
  std::vector<View> in;
  for (const int from : lowering.graph().nodes[at(node)].inputs) in.push_back(lowering.view(from));
  return lowering.step(*this, node, std::move(in));
}

void Operator::plan_forward(Planner& planner, int step) const {
  planner.forward_scratch(step, planner.for_workers(forward_floats(planner.of(step))));
}

void Operator::plan_backward(Planner& planner, BackwardStep& backward) const {
  const StepOf of = planner.of(backward.index);
  backward.scratch_floats = planner.for_workers(backward_floats(of));
  for (std::size_t i = 0; i < of.step.in.size(); ++i) {
    if (reads_values(false)) planner.bring(of.step.in[i].tensor);
    backward.target[i] = planner.target(of.step.in[i]);
  }
}

void Operator::forward(const ImageStep& run) const {
  throw std::logic_error(std::string("Engine: '") + run.of.step.op->name + "' is no step");
}

void Operator::backward(const ImageStep& run, std::size_t input, const float* gradient,
                        const Finish& put) const {
  const Tensor& t = run.of.in(input);
  run.pass.table().finish_region(put, gradient, t.h, t.w, {0, 0, 1, 1});
}

}  // namespace pyedge
