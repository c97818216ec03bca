#include "engine/needs.hpp"

#include <algorithm>
#include <functional>

#include "engine/steps/operator.hpp"

namespace pyedge {

Needs::Needs(const Graph& graph, const Program& program, const Wishes& wishes)
    : graph_(graph),
      program_(program),
      wishes_(wishes),
      wanted_(program.tensors.size()),
      masked_(program.tensors.size()),
      repeated_(program.tensors.size(), -1) {
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
  choose_masked();
  if (!wishes.batch_statistics) choose_repeated();
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

// By a step of the backward pass.
bool Needs::values_are_read(int t) const {
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (!reads_values(static_cast<int>(i))) continue;
    for (const View& view : program_.steps[i].in) {
      if (view.tensor == t) return true;
    }
  }
  return false;
}

// A bit a value does for a map that no gradient of weights, no norm's backward and no J_b reads,
// and one ReLU alone clamps.
void Needs::choose_masked() {
  std::vector<bool> more(program_.tensors.size());
  const auto look = [&](const View& view) {
    if (view.tensor < 0 || view.plain()) return;
    View& mask = masked_[at(view.tensor)];
    const bool other = mask.tensor >= 0 && (mask.norm != view.norm || mask.clamp != view.clamp);
    const bool live = view.norm >= 0 && live_[at(view.norm)];
    if (other || live || view.clamp == Clamp::none) more[at(view.tensor)] = true;
    mask = view;
  };
  for (const Step& step : program_.steps) {
    for (const View& view : step.in) look(view);
    look(step.residual);
  }
  for (const View& tap : program_.taps) more[at(tap.tensor)] = true;
  for (std::size_t t = 0; t < masked_.size(); ++t) {
    const int tensor = static_cast<int>(t);
    if (more[t] || t == 0 || !wanted(tensor) || values_are_read(tensor)) masked_[t] = View{};
  }
}

// Frozen convolutions widen their input at little cost (14 channels to 120, where the layer that
// learns behind them takes ten times as much): such a result is worth less than its memory. Those
// with the most memory for their multiplications, until all of them together would take a tenth of
// the forward pass: of networks made of such layers (MobileNetV2) some are kept.
void Needs::choose_repeated() {
  std::vector<int> candidates;
  std::vector<double> cost;
  double left = 0.0;
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    cost.push_back(program_.steps[i].op->multiplications(of(static_cast<int>(i))));
    left += 0.1 * cost.back();
    if (widens(static_cast<int>(i))) candidates.push_back(static_cast<int>(i));
  }
  const auto out = [&](int step) { return program_.steps[at(step)].out; };
  const auto worth = [&](int step) {
    return static_cast<double>(program_.tensors[at(out(step))].image()) / (cost[at(step)] + 1.0);
  };
  std::stable_sort(candidates.begin(), candidates.end(),
                   [&](int a, int b) { return worth(a) > worth(b); });
  const auto choose = [&](int step) {
    if (repeated_[at(out(step))] >= 0 || cost[at(step)] > left) return;
    left -= cost[at(step)];
    repeated_[at(out(step))] = step;
  };
  for (const int step : candidates) {
    if (masked(out(step)).tensor >= 0) continue;
    if (wanted(out(step)) || values_are_read(out(step))) choose(step);
  }
  // what makes the input of one that is repeated
  std::sort(candidates.begin(), candidates.end(), std::greater<int>());
  for (const int step : candidates) {
    for (const int later : repeated_) {
      if (later >= 0 && program_.steps[at(later)].in[0].tensor == out(step)) choose(step);
    }
  }
}

// A frozen convolution whose result is twice its input or more.
bool Needs::widens(int index) const {
  const Step& step = program_.steps[at(index)];
  return step.op->convolves() && !wishes_.step_learns[at(index)] && step.residual.tensor < 0 &&
         program_.tensors[at(step.out)].image() >=
             2 * program_.tensors[at(step.in[0].tensor)].image();
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

int Needs::passing_reader(int t) const {
  int reader = -1;
  View seen;
  const auto reads = [&](const View& view) { return view.tensor == t; };
  if (reads(program_.output) || t == 0) return -1;
  if (std::any_of(program_.taps.begin(), program_.taps.end(), reads)) return -1;
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    if (reads(step.residual)) return -1;
    for (const View& view : step.in) {
      if (!reads(view)) continue;
      if (reader >= 0) return -1;
      reader = static_cast<int>(i), seen = view;
    }
  }
  if (reader < 0 || !wishes_.training) return reader;
  const bool kept = wants(seen) && !seen.plain() && masked(t).tensor < 0;
  // what is made anew in the backward pass has its input brought back
  const bool again = repeatable(t) >= 0 || repeatable(program_.steps[at(reader)].out) >= 0;
  return kept || again || values_are_read(t) ? -1 : reader;
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
