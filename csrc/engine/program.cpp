// From the checked graph to tensors, views and steps.
#include "engine/program.hpp"

#include <algorithm>

namespace pyedge {
namespace {

class Lowering {
 public:
  Lowering(const Graph& graph, int lanes)
      : graph_(graph), lanes_(lanes), views_(graph.nodes.size()), uses_(graph.nodes.size()) {
    for (const Node& node : graph.nodes) {
      for (const int from : node.inputs) ++uses_[at(from)];
    }
    ++uses_[at(graph.output)];
    for (const int tap : graph.taps) ++uses_[at(tap)];
  }

  Program run() {
    for (std::size_t i = 0; i < graph_.nodes.size(); ++i) views_[i] = lower(static_cast<int>(i));
    program_.output = views_[at(graph_.output)];
    if (!program_.output.plain()) program_.output = copy(program_.output);
    for (const int tap : graph_.taps) {
      program_.taps.push_back(views_[at(tap)]);
    }
    shortcuts_first();
    number_producers();
    narrow_input();
    return std::move(program_);
  }

 private:
  View lower(int index) {
    const Node& node = graph_.nodes[at(index)];
    if (node.op == Op::input) {
      const Dims& d = graph_.input;
      return {new_tensor(d.c, d.h, d.w), -1, Clamp::none};
    }
    View in = views_[static_cast<std::size_t>(node.inputs[0])];
    switch (node.op) {
      case Op::batch_norm:
      case Op::affine:
        if (!in.plain()) in = copy(in);
        program_.norms.push_back({index, in.tensor, node.op == Op::batch_norm});
        in.norm = static_cast<int>(program_.norms.size()) - 1;
        return in;
      case Op::relu:
        if (in.clamp == Clamp::none) in.clamp = Clamp::relu;
        return in;
      case Op::relu6:
        in.clamp = Clamp::relu6;  // of a ReLU's result too
        return in;
      case Op::flatten:
        return in;
      case Op::add:
        return sum(index, node);
      default:
        return step(kind_of(node.op), index, {in});
    }
  }

  static StepKind kind_of(Op op) {
    switch (op) {
      case Op::channel_pad:
        return StepKind::channel_pad;
      case Op::avg_pool:
        return StepKind::avg_pool;
      case Op::max_pool:
        return StepKind::max_pool;
      case Op::global_avg_pool:
        return StepKind::global_avg_pool;
      default:
        return StepKind::conv;  // linear too
    }
  }

  // conv + x: the convolution adds x as it writes, if nobody else wants its own result. It moves
  // to the sum's place, so that x is there.
  View sum(int index, const Node& node) {
    for (int side = 0; side < 2; ++side) {
      const int from = node.inputs[static_cast<std::size_t>(side)];
      const View mine = views_[at(from)];
      const View other =
          views_[static_cast<std::size_t>(node.inputs[static_cast<std::size_t>(1 - side)])];
      const Op op = graph_.nodes[at(from)].op;
      if (op != Op::conv2d || uses_[at(from)] != 1 || !mine.plain() ||
          other.tensor == mine.tensor) {
        continue;
      }
      const auto found = std::find_if(
          program_.steps.begin(), program_.steps.end(),
          [&](const Step& s) { return s.out == mine.tensor && s.residual.tensor < 0; });
      if (found == program_.steps.end()) continue;
      Step moved = *found;
      program_.steps.erase(found);
      moved.residual = other;
      program_.steps.push_back(moved);
      return mine;
    }
    return step(StepKind::add, index,
                {views_[static_cast<std::size_t>(node.inputs[0])],
                 views_[static_cast<std::size_t>(node.inputs[1])]});
  }

  View step(StepKind kind, int index, std::vector<View> in) {
    const Dims& d = graph_.dims[at(index)];
    const int out = new_tensor(d.c, d.h, d.w);
    program_.steps.push_back({kind, index, std::move(in), {}, out});
    return {out, -1, Clamp::none};
  }

  View copy(View view) {
    const Tensor from = program_.tensors[at(view.tensor)];
    const int out = new_tensor(from.c, from.h, from.w);
    program_.steps.push_back({StepKind::copy, -1, {view}, {}, out});
    return {out, -1, Clamp::none};
  }

  int new_tensor(std::int64_t c, std::int64_t h, std::int64_t w) {
    program_.tensors.push_back({c, h, w, (c + lanes_ - 1) / lanes_ * lanes_, -1});
    return static_cast<int>(program_.tensors.size()) - 1;
  }

  // Pools and pads of a shortcut run as soon as their input is there. Backward, they then come
  // last: after the convolution beside them has used its input's values for the last time.
  void shortcuts_first() {
    std::vector<Step>& steps = program_.steps;
    for (std::size_t i = 1; i < steps.size(); ++i) {
      if (steps[i].kind == StepKind::conv || !steps[i].in[0].plain()) continue;
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

  void number_producers() {
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      program_.tensors[static_cast<std::size_t>(program_.steps[i].out)].producer =
          static_cast<int>(i);
    }
  }

  // A convolution by matrix product reads single numbers: three channels need no padding to 16.
  void narrow_input() {
    for (const Step& s : program_.steps) {
      for (const View& view : s.in) {
        if (view.tensor == 0 && (s.kind != StepKind::conv || !view.plain())) return;
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

  const Graph& graph_;
  int lanes_;
  std::vector<View> views_;
  std::vector<int> uses_;
  Program program_;
};

}  // namespace

Program lower(const Graph& graph, int lanes) {
  return Lowering(graph, lanes).run();
}

}  // namespace pyedge
