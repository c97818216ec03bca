// From the checked graph to tensors, views and steps.
#include "engine/lowering.hpp"

#include <algorithm>

#include "engine/steps/operator.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

Lowering::Lowering(const Graph& graph, const KernelTable& table)
    : graph_(graph), table_(table), views_(graph.nodes.size()), uses_(graph.nodes.size()) {
  for (const Node& node : graph.nodes) {
    for (const int from : node.inputs) ++uses_[at(from)];
  }
  ++uses_[at(graph.output)];
  for (const int tap : graph.taps) ++uses_[at(tap)];
}

Program Lowering::run() {
  for (std::size_t i = 0; i < graph_.nodes.size(); ++i) {
    views_[i] = graph_.nodes[i].op->lower(*this, static_cast<int>(i));
  }
  program_.output = views_[at(graph_.output)];
  if (!program_.output.plain()) program_.output = copy(program_.output);
  for (const int tap : graph_.taps) program_.taps.push_back(views_[at(tap)]);
  shortcuts_first();
  number_producers();
  narrow_input();
  return std::move(program_);
}

int Lowering::new_tensor(const Dims& d) {
  const std::int64_t lanes = table_.lanes;
  program_.tensors.push_back({d.c, d.h, d.w, (d.c + lanes - 1) / lanes * lanes, -1});
  return static_cast<int>(program_.tensors.size()) - 1;
}

View Lowering::step(const Operator& op, int node, std::vector<View> in) {
  const int out = new_tensor(graph_.dims[at(node)]);
  program_.steps.push_back({&op, node, std::move(in), {}, out, {}});
  return {out, -1, Clamp::none};
}

View Lowering::norm(int node, bool has_statistics) {
  View in = views_[at(graph_.nodes[at(node)].inputs[0])];
  if (!in.plain()) in = copy(in);
  program_.norms.push_back({node, in.tensor, has_statistics});
  in.norm = static_cast<int>(program_.norms.size()) - 1;
  return in;
}

bool Lowering::add_by_maker(int node, const View& other) {
  const View& mine = views_[at(node)];
  const Operator& op = *graph_.nodes[at(node)].op;
  if (!op.convolves() || op.linear() || uses_[at(node)] != 1 || !mine.plain() ||
      other.tensor == mine.tensor) {
    return false;
  }
  std::vector<Step>& steps = program_.steps;
  const auto found = std::find_if(steps.begin(), steps.end(), [&](const Step& s) {
    return s.out == mine.tensor && s.residual.tensor < 0;
  });
  if (found == steps.end() || !found->op->convolves()) return false;
  Step moved = *found;
  steps.erase(found);
  moved.residual = other;
  steps.push_back(std::move(moved));
  return true;
}

View Lowering::copy(const View& view) {
  const Tensor& from = program_.tensors[at(view.tensor)];
  const int out = new_tensor({from.c, from.h, from.w});
  program_.steps.push_back({&copy_operator, -1, {view}, {}, out, {}});
  return {out, -1, Clamp::none};
}

// Pools and pads of a shortcut run as soon as their input is there. Backward, they then come
// last: after the convolution beside them has used its input's values for the last time.
void Lowering::shortcuts_first() {
  std::vector<Step>& steps = program_.steps;
  for (std::size_t i = 1; i < steps.size(); ++i) {
    if (steps[i].op->convolves() || !steps[i].in[0].plain()) continue;
    std::size_t to = i;
    const auto reads = [&](const Step& before) {
      return std::any_of(steps[i].in.begin(), steps[i].in.end(),
                         [&](const View& view) { return view.tensor == before.out; });
    };
    while (to > 0 && !reads(steps[to - 1])) --to;
    std::rotate(steps.begin() + static_cast<std::ptrdiff_t>(to),
                steps.begin() + static_cast<std::ptrdiff_t>(i),
                steps.begin() + static_cast<std::ptrdiff_t>(i) + 1);
  }
}

void Lowering::number_producers() {
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    program_.tensors[at(program_.steps[i].out)].producer = static_cast<int>(i);
  }
}

// A convolution by matrix product reads single numbers: three channels need no padding to 16.
void Lowering::narrow_input() {
  for (const Step& s : program_.steps) {
    for (const View& view : s.in) {
      if (view.tensor == 0 && (!s.op->convolves() || !view.plain())) return;
    }
    if (s.residual.tensor == 0) return;
  }
  if (program_.output.tensor == 0) return;
  for (const View& tap : program_.taps) {
    if (tap.tensor == 0) return;
  }
  for (const Norm& norm : program_.norms) {
    if (norm.tensor == 0) return;
  }
  program_.tensors[0].stride = program_.tensors[0].c;
}

Program lower(const Graph& graph, const KernelTable& table) {
  return Lowering(graph, table).run();
}

}  // namespace pyedge
