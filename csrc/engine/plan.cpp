// Planning: which gradients are wanted, in which order they come, and how long each buffer lives.
#include "engine/plan.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/arena.hpp"

namespace pyedge {
namespace {

class Planner {
 public:
  Planner(const Graph& graph, const Program& program, const Wishes& wishes, std::int64_t n,
          const KernelTable& table, int workers)
      : graph_(graph), program_(program), wishes_(wishes), table_(table), workers_(workers) {
    plan_.n = n;
    tensors_.resize(program.tensors.size());
    gradients_.resize(program.tensors.size());
    again_.resize(program.tensors.size());
    norm_gradients_.resize(program.norms.size());
    alias_.resize(program.tensors.size());
    std::iota(alias_.begin(), alias_.end(), 0);
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
      tensors_[i].floats = gradients_[i].floats = again_[i].floats = n * program.tensors[i].image();
    }
    for (std::size_t i = 0; i < norm_gradients_.size(); ++i) {
      norm_gradients_[i].floats = n * tensor(program.norms[i].tensor).image();
    }
  }

  Plan run() {
    const std::size_t steps = program_.steps.size();
    plan_.forward.resize(steps);
    plan_.input_gradient.resize(steps);
    plan_.weight_gradient.resize(steps);
    plan_.live.assign(program_.norms.size(), false);
    plan_.in_place.assign(program_.tensors.size(), false);
    loss_time_ = static_cast<int>(steps);
    forward();
    if (wishes_.training) {
      find_wanted();
      backward();
    }
    place();
    return std::move(plan_);
  }

 private:
  const Tensor& tensor(int index) const { return program_.tensors[at(index)]; }

  void scratch(std::int64_t floats) { scratch_ = std::max(scratch_, floats); }

  void forward() {
    tensors_[0].use(0);
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      const int time = static_cast<int>(i);
      for (const View& view : step.in) tensors_[at(view.tensor)].use(time);
      if (step.residual.tensor >= 0) tensors_[at(step.residual.tensor)].use(time);
      tensors_[at(step.out)].use(time);
      if (step.kind == StepKind::conv) {
        const ConvShape shape = conv_shape(graph_, program_, step, plan_.n);
        plan_.forward[i] = ConvForward(shape, table_, workers_);
        scratch(plan_.forward[i].scratch_floats());
      } else if (step.kind == StepKind::channel_pad) {
        scratch(workers_ * (tensor(step.in[0].tensor).stride + arena_alignment));
      }
    }
    share_residuals();
    if (wishes_.training && wishes_.batch_statistics) {
      for (const Norm& norm : program_.norms) {
        if (norm.has_statistics) scratch(statistics_floats(tensor(norm.tensor)));
      }
    }
    tensors_[at(program_.output.tensor)].use(loss_time_);
    if (wishes_.training) {
      for (const View& tap : program_.taps) tensors_[at(tap.tensor)].use(loss_time_);
    }
  }

  // A convolution that adds a residual nobody else reads writes its sum over it.
  void share_residuals() {
    for (const Step& step : program_.steps) {
      const View& r = step.residual;
      if (step.kind == StepKind::conv && r.tensor >= 0 && r.plain() && readers(r.tensor) == 1) {
        same_memory_.push_back({step.out, r.tensor});
      }
    }
  }

  // sums [n, 2, stride] in float64
  std::int64_t statistics_floats(const Tensor& t) const { return plan_.n * 4 * t.stride; }

  // A tensor's gradient is wanted if something learns before it or on it.
  void find_wanted() {
    wanted_.assign(program_.tensors.size(), false);
    for (std::size_t i = 0; i < program_.norms.size(); ++i) {
      const bool batch = wishes_.batch_statistics && program_.norms[i].has_statistics;
      norm_wanted_.push_back(wishes_.norm_learns[i]);
      plan_.live[i] = wishes_.norm_learns[i] || batch;
    }
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      bool wanted = wishes_.step_learns[i] || wants(step.residual);
      for (const View& view : step.in) wanted = wanted || wants(view);
      wanted_[at(step.out)] = wanted;
    }
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      plan_.in_place[t] = wanted_[t] && overwritable(static_cast<int>(t));
    }
  }

  // Whether the first step of the backward pass that adds to the tensor's gradient is the last one
  // to need its values: they end where the gradient begins, element by element.
  bool overwritable(int t) const {
    int last = -1;
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      for (const View& view : step.in) {
        if (view.tensor == t) last = static_cast<int>(i);
      }
      if (step.residual.tensor == t) last = static_cast<int>(i);
    }
    if (last < 0) return false;
    for (int i = 0; i <= last; ++i) {
      const Step& step = program_.steps[at(i)];
      if (step.residual.tensor == t) return false;
      for (const View& view : step.in) {
        if (view.tensor != t) continue;
        if (i < last) {
          const bool needs_values = step.kind == StepKind::max_pool || step.kind == StepKind::conv;
          if (!view.plain() || needs_values) return false;
          continue;
        }
        if (view.norm >= 0 && plan_.live[at(view.norm)]) return false;
        const bool fits = step.kind == StepKind::conv
                              ? !wishes_.step_learns[at(i)] && !by_rows(step)
                              : step.kind == StepKind::global_avg_pool;
        if (view.plain() || !fits) return false;
      }
    }
    for (std::size_t i = 0; i < program_.norms.size(); ++i) {
      if (program_.norms[i].tensor == t && plan_.live[i]) return false;
    }
    return std::all_of(program_.taps.begin(), program_.taps.end(),
                       [&](const View& tap) { return tap.tensor != t || tap.plain(); });
  }

  // Its input gradient takes rows of several images at once, whose shares of J_b's may differ.
  bool by_rows(const Step& step) const { return conv_shape(graph_, program_, step, 1).pointwise(); }

  bool wants(const View& view) const {
    if (view.tensor < 0) return false;
    return wanted_[at(view.tensor)] || (view.norm >= 0 && norm_wanted_[at(view.norm)]);
  }

  // The target of a gradient of the view's values, at `time`; notes what it touches.
  Target target(const View& view, int time, int again = -1) {
    if (!wants(view)) return {};
    Target found;
    if (view.norm >= 0 && plan_.live[at(view.norm)]) {
      found = {view.norm, true, norm_gradients_[at(view.norm)].last >= 0};
      norm_gradients_[at(view.norm)].use(time);
    } else {
      const int t = view.tensor;
      found = {t, false, gradients_[at(alias_[at(t)])].last >= 0 && gradient_begun_[at(t)]};
      gradients_[at(alias_[at(t)])].use(time);
      gradient_begun_[at(t)] = true;
    }
    if (view.clamp != Clamp::none) keep(view.tensor, again, time);  // its mask
    return found;
  }

  // The tensor's values are read at `time`, of the backward pass.
  void keep(int t, int again, int time) {
    if (again < 0) return tensors_[at(t)].use(time);
    again_[at(t)].use(time);
    tensors_[at(program_.steps[at(again)].in[0].tensor)].use(time);
  }

  // Frozen convolutions widen their input at little cost (14 channels to 120, where the layer that
  // learns behind them takes ten times as much): such a result is worth less than its memory. The
  // step that made the tensor, or -1 if its values had better be kept.
  int step_to_repeat(int t) const {
    const int index = tensor(t).producer;
    if (index < 0 || wishes_.batch_statistics || wishes_.step_learns[at(index)]) return -1;
    const Step& step = program_.steps[at(index)];
    if (step.kind != StepKind::conv || step.residual.tensor >= 0) return -1;
    int uses = 0;
    for (const Step& other : program_.steps) {
      for (const View& view : other.in) uses += view.tensor == t;
      uses += other.residual.tensor == t;
    }
    for (const View& tap : program_.taps) uses += tap.tensor == t;
    double all = 0.0;
    for (const Step& other : program_.steps) all += multiplications(other);
    const bool cheap = multiplications(step) <= 0.1 * all;
    return uses == 1 && cheap && tensor(t).image() >= 2 * tensor(step.in[0].tensor).image() ? index
                                                                                            : -1;
  }

  double multiplications(const Step& step) const {
    if (step.kind != StepKind::conv) return 0.0;
    const ConvShape s = conv_shape(graph_, program_, step, 1);
    return static_cast<double>(s.taps() * s.c_in * s.c_out) *
           static_cast<double>(s.out_h * s.out_w);
  }

  void backward() {
    gradient_begun_.assign(program_.tensors.size(), false);
    int time = loss_time_;
    gradient_begun_[at(program_.output.tensor)] = true;
    gradients_[at(program_.output.tensor)].use(time);
    for (std::size_t i = program_.steps.size(); i-- > 0;) {
      const Step& step = program_.steps[i];
      time = taps_of(step.out, time);
      time = norms_of(step.out, time);
      if (!wanted_[at(step.out)] || !gradient_begun_[at(step.out)]) continue;
      ++time;
      gradients_[at(alias_[at(step.out)])].use(time);
      backward_step(static_cast<int>(i), step, time);
    }
    norms_of(0, taps_of(0, time));
  }

  void push(const BackwardStep& step) { plan_.backward.push_back(step); }

  // A tap's share of a gradient comes last, so that the gradient need not live since the loss.
  int taps_of(int t, int time) {
    for (std::size_t i = 0; i < program_.taps.size(); ++i) {
      const View& tap = program_.taps[i];
      if (tap.tensor != t || !wants(tap)) continue;
      ++time;
      tensors_[at(t)].use(time);
      push({BackwardKind::tap, static_cast<int>(i), {target(tap, time), {}}});
    }
    return time;
  }

  // Norms on a tensor come before the step that made it: by then their gradient is whole.
  int norms_of(int t, int time) {
    for (std::size_t i = 0; i < program_.norms.size(); ++i) {
      if (program_.norms[i].tensor != t || norm_gradients_[i].last < 0) continue;
      ++time;
      norm_gradients_[i].use(time);
      tensors_[at(t)].use(time);
      scratch(statistics_floats(tensor(t)));
      BackwardStep step{BackwardKind::norm, static_cast<int>(i), {}};
      if (wanted_[at(t)]) step.target[0] = target({t, -1, Clamp::none}, time);
      push(step);
    }
    return time;
  }

  void backward_step(int index, const Step& step, int time) {
    BackwardStep b{BackwardKind::step, index, {}};
    const Tensor& in = tensor(step.in[0].tensor);
    switch (step.kind) {
      case StepKind::conv: {
        const ConvShape shape = conv_shape(graph_, program_, step, plan_.n);
        b.weights = wishes_.step_learns[at(index)];
        if (b.weights) {
          plan_.weight_gradient[at(index)] = ConvWeightGradient(shape, table_, workers_);
          scratch(plan_.weight_gradient[at(index)].scratch_floats());
          scratch(statistics_floats(tensor(step.out)));  // of a bias
          b.again = step_to_repeat(step.in[0].tensor);
          keep(step.in[0].tensor, b.again, time);
        }
        if (wants(step.in[0])) {
          plan_.input_gradient[at(index)] = ConvInputGradient(shape, table_, workers_);
          scratch(plan_.input_gradient[at(index)].scratch_floats());
          scratch(plan_.input_gradient[at(index)].pack_scratch_floats());
        }
        b.target[0] = target(step.in[0], time, b.again);
        residual(b, step, time);
        break;
      }
      case StepKind::add:
        b.target[0] = target(step.in[0], time);
        b.target[1] = target(step.in[1], time);
        break;
      case StepKind::max_pool:
        tensors_[at(step.in[0].tensor)].use(time);
        [[fallthrough]];
      case StepKind::avg_pool:
      case StepKind::channel_pad:
        scratch(workers_ * (in.image() + 2 * arena_alignment));
        b.target[0] = target(step.in[0], time);
        break;
      default:
        b.target[0] = target(step.in[0], time);
    }
    push(b);
  }

  // A residual that nobody else reads takes over the gradient of the sum where it lies.
  void residual(BackwardStep& b, const Step& step, int time) {
    const View& view = step.residual;
    if (!wants(view)) return;
    if (view.plain() && readers(view.tensor) == 1 && !gradient_begun_[at(view.tensor)]) {
      alias_[at(view.tensor)] = alias_[at(step.out)];
      gradient_begun_[at(view.tensor)] = true;
      b.alias = true;
      b.target[1] = {view.tensor, false, false};
      return;
    }
    b.target[1] = target(view, time);
  }

  int readers(int t) const {
    int count = program_.output.tensor == t;
    for (const View& tap : program_.taps) count += tap.tensor == t;
    for (const Norm& norm : program_.norms) count += norm.tensor == t;
    for (const Step& step : program_.steps) {
      for (const View& view : step.in) count += view.tensor == t;
      count += step.residual.tensor == t;
    }
    return count;
  }

  void place() {
    plan_.tensor_at.assign(tensors_.size(), -1);
    plan_.again_at.assign(again_.size(), -1);
    plan_.gradient_at.assign(gradients_.size(), -1);
    plan_.norm_gradient_at.assign(norm_gradients_.size(), -1);
    std::vector<ArenaBlock> blocks;
    for (const auto& [sum, residual] : same_memory_) {
      Life& whole = tensors_[at(sum)];
      const Life& part = tensors_[at(residual)];
      whole.use(part.first);
      whole.use(part.last);
      tensors_[at(residual)].last = -1;
    }
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      if (!plan_.in_place[t] || gradients_[t].last < 0 || alias_[t] != static_cast<int>(t))
        continue;
      tensors_[t].use(gradients_[t].first);
      tensors_[t].use(gradients_[t].last);
      gradients_[t].last = -1;
    }
    const auto add = [&](const std::vector<Life>& lives, std::vector<std::int64_t>& offsets) {
      for (std::size_t i = 0; i < lives.size(); ++i) {
        if (lives[i].last >= 0) blocks.push_back({lives[i], &offsets[i]});
      }
    };
    add(tensors_, plan_.tensor_at);
    add(again_, plan_.again_at);
    add(gradients_, plan_.gradient_at);
    add(norm_gradients_, plan_.norm_gradient_at);
    const std::int64_t end = place_blocks(blocks);
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      if (plan_.in_place[t] && alias_[t] == static_cast<int>(t)) {
        plan_.gradient_at[t] = plan_.tensor_at[t];
      }
    }
    for (std::size_t i = 0; i < alias_.size(); ++i) {
      plan_.gradient_at[i] = plan_.gradient_at[at(alias_[i])];
    }
    for (const auto& [sum, residual] : same_memory_) {
      plan_.tensor_at[at(residual)] = plan_.tensor_at[at(sum)];
    }
    plan_.scratch_at = end;
    plan_.floats = end + scratch_ + arena_alignment;
  }

  const Graph& graph_;
  const Program& program_;
  const Wishes& wishes_;
  const KernelTable& table_;
  int workers_;
  Plan plan_;
  std::vector<Life> tensors_, again_, gradients_, norm_gradients_;
  std::vector<int> alias_;
  std::vector<std::pair<int, int>> same_memory_;  // sum, residual
  std::vector<bool> wanted_, norm_wanted_, gradient_begun_;
  std::int64_t scratch_ = 0;
  int loss_time_ = 0;
};

}  // namespace

ConvShape conv_shape(const Graph& graph, const Program& program, const Step& step, std::int64_t n) {
  const Node& node = graph.nodes[at(step.node)];
  const Tensor& in = program.tensors[at(step.in[0].tensor)];
  const Tensor& out = program.tensors[at(step.out)];
  ConvShape s{n,    in.c, in.h, in.w, in.stride, out.c, out.h, out.w, out.stride,
              in.h, in.w, 1,    1,    0,         0,     1,     1};
  if (node.op == Op::conv2d) {
    s.kernel_h = node.kernel[0], s.kernel_w = node.kernel[1];
    s.stride_h = node.stride[0], s.stride_w = node.stride[1];
    s.padding_h = node.padding[0], s.padding_w = node.padding[1];
    s.dilation_h = node.dilation[0], s.dilation_w = node.dilation[1];
  }
  return s;
}

Plan make_plan(const Graph& graph, const Program& program, const Wishes& wishes, std::int64_t n,
               const KernelTable& table, int workers) {
  return Planner(graph, program, wishes, n, table, workers).run();
}

}  // namespace pyedge
