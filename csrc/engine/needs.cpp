#include "engine/needs.hpp"

#include <algorithm>

#include "engine/steps/operator.hpp"

namespace pyedge {

Needs::Needs(const Graph& graph, const Program& program, const Wishes& wishes)
    : graph_(graph), program_(program), wishes_(wishes), wanted_(program.tensors.size()) {
  if (!wishes.training) return;
  for (std::size_t i = 0; i < program.norms.size(); ++i) {
    const bool batch = wishes.batch_statistics && program.norms[i].has_statistics;
    live_.push_back(wishes.norm_learns[i] || batch);
  }
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    bool wanted = wishes.step_learns[i] || wants(step.residual);
    for (const View& view : step.in) wanted = wanted || wants(view);
    wanted_[at(step.out)] = wanted;
  }
}

bool Needs::wants(const View& view) const {
  if (view.tensor < 0) return false;
  return wanted_[at(view.tensor)] || (view.norm >= 0 && wishes_.norm_learns[at(view.norm)]);
}

// Whether the first step of the backward pass that adds to the tensor's gradient is the last one
// to need its values: they end where the gradient begins, element by element.
bool Needs::overwritable(int t) const {
  int last = -1;
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    for (const View& view : step.in) {
      if (view.tensor == t) last = static_cast<int>(i);
    }
    if (step.residual.tensor == t) last = static_cast<int>(i);
  }
  if (!wanted(t) || last < 0 || t == program_.output.tensor) return false;
  for (int i = 0; i <= last; ++i) {
    const Step& step = program_.steps[at(i)];
    if (step.residual.tensor == t) return false;
    for (const View& view : step.in) {
      if (view.tensor != t) continue;
      if (i < last) {
        if (!view.plain() || step.op->convolves() || reads_values(i)) return false;
        continue;
      }
      if (view.norm >= 0 && live_[at(view.norm)]) return false;
      if (view.plain() || reads_values(i) || !step.op->writes_over(of(i))) return false;
    }
  }
  for (std::size_t i = 0; i < program_.norms.size(); ++i) {
    if (program_.norms[i].tensor == t && live_[i]) return false;
  }
  return std::all_of(program_.taps.begin(), program_.taps.end(),
                     [&](const View& tap) { return tap.tensor != t || tap.plain(); });
}

// Frozen convolutions widen their input at little cost (14 channels to 120, where the layer that
// learns behind them takes ten times as much): such a result is worth less than its memory. The
// step that made the tensor, or -1 if its values had better be kept.
int Needs::repeatable(int t) const {
  const int index = program_.tensors[at(t)].producer;
  if (index < 0 || wishes_.batch_statistics || wishes_.step_learns[at(index)]) return -1;
  const Step& step = program_.steps[at(index)];
  if (!step.op->convolves() || step.residual.tensor >= 0) return -1;
  double all = 0.0;
  for (const Step& other : program_.steps) {
    all += other.op->multiplications({graph_, program_, other});
  }
  const bool cheap = step.op->multiplications(of(index)) <= 0.1 * all;
  return cheap && program_.tensors[at(t)].image() >=
                      2 * program_.tensors[at(step.in[0].tensor)].image()
             ? index
             : -1;
}

// Whether 16 bits do for what the backward pass reads of it: values enter no gradient of weights
// and no comparison but the one of a single ReLU, which the copy keeps exact.
bool Needs::compactable(int t, View& mask) const {
  mask = {};
  const auto fits = [&](const View& view) {
    if (view.tensor != t || view.clamp == Clamp::none) return true;
    if (view.clamp != Clamp::relu) return false;
    if (mask.tensor >= 0 && mask.norm != view.norm) return false;
    mask = view;
    return true;
  };
  for (std::size_t i = 0; i < program_.norms.size(); ++i) {
    if (program_.norms[i].tensor == t && live_[i]) return false;
  }
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (!fits(step.residual)) return false;
    for (const View& view : step.in) {
      if (view.tensor == t && reads_values(static_cast<int>(i))) return false;
      if (!fits(view)) return false;
    }
  }
  return std::all_of(program_.taps.begin(), program_.taps.end(), fits);
}

int Needs::readers(int t) const {
  int count = program_.output.tensor == t;
  for (const View& tap : program_.taps) count += tap.tensor == t;
  for (const Norm& norm : program_.norms) count += norm.tensor == t;
  for (const Step& step : program_.steps) {
    for (const View& view : step.in) count += view.tensor == t;
    count += step.residual.tensor == t;
  }
  return count;
}

// The convolution that adds the tensor to its result, if nobody else reads it; else -1.
int Needs::adder(int t) const {
  if (readers(t) != 1) return -1;
  const auto adds = [&](const Step& step) { return step.residual.tensor == t; };
  const auto found = std::find_if(program_.steps.begin(), program_.steps.end(), adds);
  return found == program_.steps.end() ? -1 : static_cast<int>(found - program_.steps.begin());
}

}  // namespace pyedge
