// Planning: which gradients are wanted, in which order they come, and how long each buffer lives.
#include "engine/plan.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/arena.hpp"
#include "engine/placement.hpp"

namespace pyedge {
namespace {

class Planner {
 public:
  // n images out of a batch of `all`
  Planner(const Graph& graph, const Program& program, const Wishes& wishes, std::int64_t n,
          std::int64_t all, const KernelTable& table, int workers)
      : graph_(graph),
        program_(program),
        wishes_(wishes),
        table_(table),
        workers_(workers),
        all_(all),
        split_(n < all) {
    plan_.n = n;
    lives_.tensors.resize(program.tensors.size());
    lives_.gradients.resize(program.tensors.size());
    lives_.back.resize(program.tensors.size());
    lives_.norm_gradients.resize(program.norms.size());
    lives_.alias.resize(program.tensors.size());
    std::iota(lives_.alias.begin(), lives_.alias.end(), 0);
    for (std::size_t i = 0; i < lives_.tensors.size(); ++i) {
      lives_.tensors[i].floats = lives_.gradients[i].floats = lives_.back[i].floats =
          n * program.tensors[i].image();
    }
    for (std::size_t i = 0; i < lives_.norm_gradients.size(); ++i) {
      lives_.norm_gradients[i].floats = n * tensor(program.norms[i].tensor).image();
    }
  }

  Plan run() {
    const std::size_t steps = program_.steps.size();
    plan_.forward.resize(steps);
    plan_.input_gradient.resize(steps);
    plan_.weight_gradient.resize(steps);
    plan_.live.assign(program_.norms.size(), false);
    plan_.in_place.assign(program_.tensors.size(), false);
    plan_.tensor_of_all.assign(program_.tensors.size(), false);
    plan_.gradient_of_all.assign(program_.tensors.size(), false);
    lives_.compact.assign(program_.tensors.size(), false);
    plan_.mask.resize(program_.tensors.size());
    loss_time_ = static_cast<int>(steps);
    lives_.scratch.resize(steps);
    find_hosts();
    forward();
    if (wishes_.training) {
      find_wanted();
      backward();
    }
    place(program_, lives_, all_, plan_);
    return std::move(plan_);
  }

 private:
  const Tensor& tensor(int index) const { return program_.tensors[at(index)]; }

  // Of a step of the forward pass.
  void scratch(std::size_t step, int time, std::int64_t floats) {
    Life& life = lives_.scratch[step];
    life.floats = std::max(life.floats, floats);
    life.use(time);
  }

  // The batch's statistics are not there before the last image is: nothing joins then.
  void find_hosts() {
    plan_.host.resize(program_.steps.size());
    if (wishes_.training && wishes_.batch_statistics) return;
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      switch (step.kind) {
        case StepKind::channel_pad:
          plan_.host[i] = {adder(step.out), true};
          break;
        case StepKind::avg_pool:
        case StepKind::max_pool:
        case StepKind::global_avg_pool: {
          const int producer = tensor(step.in[0].tensor).producer;
          const bool conv = producer >= 0 && program_.steps[at(producer)].kind == StepKind::conv;
          if (conv) plan_.host[i] = {producer, false};
          break;
        }
        default:
          break;
      }
    }
  }

  // The convolution that adds the tensor to its result, if nobody else reads it; else -1.
  int adder(int t) const {
    if (readers(t) != 1) return -1;
    const auto adds = [&](const Step& step) {
      return step.kind == StepKind::conv && step.residual.tensor == t;
    };
    const auto found = std::find_if(program_.steps.begin(), program_.steps.end(), adds);
    return found == program_.steps.end() ? -1 : static_cast<int>(found - program_.steps.begin());
  }

  void forward() {
    lives_.tensors[0].use(0);
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      const int host = plan_.host[i].step, time = host >= 0 ? host : static_cast<int>(i);
      for (const View& view : step.in) lives_.tensors[at(view.tensor)].use(time);
      if (step.residual.tensor >= 0) lives_.tensors[at(step.residual.tensor)].use(time);
      lives_.tensors[at(step.out)].use(time);
      if (step.kind == StepKind::conv) {
        const ConvShape shape = conv_shape(graph_, program_, step, plan_.n);
        plan_.forward[i] = ConvForward(shape, table_, workers_);
        scratch(i, time, plan_.forward[i].scratch_floats());
      } else if (step.kind == StepKind::channel_pad) {
        scratch(i, time, workers_ * (tensor(step.in[0].tensor).stride + arena_alignment));
      }
    }
    share_residuals();
    if (wishes_.training && wishes_.batch_statistics) {
      for (const Norm& norm : program_.norms) {
        const Tensor& t = tensor(norm.tensor);
        const int step = std::max(t.producer, 0);
        if (norm.has_statistics) scratch(at(step), step, statistics_floats(t));
      }
    }
    lives_.tensors[at(program_.output.tensor)].use(loss_time_);
    plan_.tensor_of_all[at(program_.output.tensor)] = split_ && wishes_.training;
  }

  // A convolution that adds a residual nobody else reads writes its sum over it.
  void share_residuals() {
    for (const Step& step : program_.steps) {
      const View& r = step.residual;
      if (step.kind == StepKind::conv && r.tensor >= 0 && r.plain() && readers(r.tensor) == 1) {
        lives_.same_memory.push_back({step.out, r.tensor});
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
    for (std::size_t t = 0; t < lives_.tensors.size(); ++t) {
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
    if (last < 0 || t == program_.output.tensor) return false;
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
  Target target(const View& view, int time) {
    if (!wants(view)) return {};
    Target found;
    if (view.norm >= 0 && plan_.live[at(view.norm)]) {
      found = {view.norm, true, lives_.norm_gradients[at(view.norm)].last >= 0};
      lives_.norm_gradients[at(view.norm)].use(time);
    } else {
      const int t = view.tensor;
      found = {t, false,
               lives_.gradients[at(lives_.alias[at(t)])].last >= 0 && gradient_begun_[at(t)]};
      lives_.gradients[at(lives_.alias[at(t)])].use(time);
      gradient_begun_[at(t)] = true;
    }
    // its mask, and J_b's share where the gradient is written over the values
    if (view.clamp != Clamp::none || plan_.in_place[at(view.tensor)]) bring(view.tensor, time);
    return found;
  }

  // The backward pass reads the tensor's values at `time`.
  void bring(int t, int time) {
    Life& back = lives_.back[at(t)];
    if (back.last < 0) {
      const int made_by = repeatable(t);
      if (t == 0) {
        push({BackwardKind::images, -1, {}}, time);
      } else if (made_by >= 0) {
        bring(program_.steps[at(made_by)].in[0].tensor, time);
        push({BackwardKind::repeat, made_by, {}}, time,
             plan_.forward[at(made_by)].scratch_floats());
      } else if (split_ && compactable(t)) {
        push({BackwardKind::restore, t, {}}, time);
        lives_.compact[at(t)] = true;
      } else {
        plan_.tensor_of_all[at(t)] = split_;
        return lives_.tensors[at(t)].use(time);
      }
    }
    back.use(time);
  }

  // Frozen convolutions widen their input at little cost (14 channels to 120, where the layer that
  // learns behind them takes ten times as much): such a result is worth less than its memory. The
  // step that made the tensor, or -1 if its values had better be kept.
  int repeatable(int t) const {
    const int index = tensor(t).producer;
    if (index < 0 || wishes_.batch_statistics || wishes_.step_learns[at(index)]) return -1;
    const Step& step = program_.steps[at(index)];
    if (step.kind != StepKind::conv || step.residual.tensor >= 0) return -1;
    double all = 0.0;
    for (const Step& other : program_.steps) all += multiplications(other);
    const bool cheap = multiplications(step) <= 0.1 * all;
    return cheap && tensor(t).image() >= 2 * tensor(step.in[0].tensor).image() ? index : -1;
  }

  // Whether 16 bits do for what the backward pass reads of it: values enter no gradient of weights
  // and no comparison but the one of a single ReLU, which the copy keeps exact.
  bool compactable(int t) {
    View mask;
    const auto fits = [&](const View& view) {
      if (view.tensor != t || view.clamp == Clamp::none) return true;
      if (view.clamp != Clamp::relu) return false;
      if (mask.tensor >= 0 && mask.norm != view.norm) return false;
      mask = view;
      return true;
    };
    for (std::size_t i = 0; i < program_.norms.size(); ++i) {
      if (program_.norms[i].tensor == t && plan_.live[i]) return false;
    }
    for (std::size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& step = program_.steps[i];
      if (!fits(step.residual)) return false;
      for (const View& view : step.in) {
        const bool compares = step.kind == StepKind::max_pool;
        if (view.tensor == t && (compares || wishes_.step_learns[i])) return false;
        if (!fits(view)) return false;
      }
    }
    if (!std::all_of(program_.taps.begin(), program_.taps.end(), fits)) return false;
    plan_.mask[at(t)] = mask;
    return true;
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
    lives_.gradients[at(program_.output.tensor)].use(time);
    plan_.gradient_of_all[at(program_.output.tensor)] = split_;
    for (std::size_t i = program_.steps.size(); i-- > 0;) {
      const Step& step = program_.steps[i];
      time = taps_of(step.out, time);
      time = norms_of(step.out, time);
      if (!wanted_[at(step.out)] || !gradient_begun_[at(step.out)]) continue;
      time = next(time, {BackwardKind::step, static_cast<int>(i), {}});
      lives_.gradients[at(lives_.alias[at(step.out)])].use(time);
      backward_step(static_cast<int>(i), step, time);
    }
    norms_of(0, taps_of(0, time));
  }

  // Whether the step touches one image after the other, but for a convolution's weight gradient.
  bool by_image(const BackwardStep& step) const {
    return step.kind == BackwardKind::restore || step.kind == BackwardKind::tap ||
           step.kind == BackwardKind::step;
  }
  bool is_conv(const BackwardStep& step) const {
    return step.kind == BackwardKind::step && program_.steps[at(step.index)].kind == StepKind::conv;
  }
  // Whether the step can go through the images together with the last one that was planned: a
  // convolution with other convolutions' weights in the cache cannot.
  bool joins(const BackwardStep& step) const {
    if (plan_.backward.empty() || !by_image(step) || !by_image(plan_.backward.back())) return false;
    if (!is_conv(step)) return true;
    if (wishes_.step_learns[at(step.index)]) return false;
    for (std::size_t i = plan_.backward.size(); i-- > 0;) {
      if (is_conv(plan_.backward[i])) return false;
      if (!plan_.backward[i].joined) break;
    }
    return true;
  }
  // Steps that go through the images together run at one time.
  int next(int time, const BackwardStep& step) const { return joins(step) ? time : time + 1; }

  void push(BackwardStep step, int time, std::int64_t scratch_floats = 0) {
    step.joined = joins(step) && plan_.backward.back().time == time;
    step.time = time;
    plan_.backward.push_back(step);
    lives_.scratch.push_back({});
    if (scratch_floats == 0) return;
    lives_.scratch.back().floats = scratch_floats;
    lives_.scratch.back().use(time);
  }

  // A tap's share of a gradient comes last, so that the gradient need not live since the loss.
  int taps_of(int t, int time) {
    for (std::size_t i = 0; i < program_.taps.size(); ++i) {
      const View& tap = program_.taps[i];
      if (tap.tensor != t || !wants(tap)) continue;
      BackwardStep step{BackwardKind::tap, static_cast<int>(i), {}};
      time = next(time, step);
      bring(t, time);
      step.target[0] = target(tap, time);
      push(step, time);
    }
    return time;
  }

  // Norms on a tensor come before the step that made it: by then their gradient is whole.
  int norms_of(int t, int time) {
    for (std::size_t i = 0; i < program_.norms.size(); ++i) {
      if (program_.norms[i].tensor != t || lives_.norm_gradients[i].last < 0) continue;
      ++time;
      lives_.norm_gradients[i].use(time);
      bring(t, time);
      BackwardStep step{BackwardKind::norm, static_cast<int>(i), {}};
      if (wanted_[at(t)]) step.target[0] = target({t, -1, Clamp::none}, time);
      push(step, time, statistics_floats(tensor(t)));
    }
    return time;
  }

  void backward_step(int index, const Step& step, int time) {
    BackwardStep b{BackwardKind::step, index, {}};
    const Tensor& in = tensor(step.in[0].tensor);
    std::int64_t floats = 0;
    switch (step.kind) {
      case StepKind::conv: {
        const ConvShape shape = conv_shape(graph_, program_, step, plan_.n);
        b.weights = wishes_.step_learns[at(index)];
        if (b.weights) {
          plan_.weight_gradient[at(index)] = ConvWeightGradient(shape, table_, workers_);
          floats = std::max({floats, plan_.weight_gradient[at(index)].scratch_floats(),
                             statistics_floats(tensor(step.out))});  // of a bias
          bring(step.in[0].tensor, time);
        }
        if (wants(step.in[0])) {
          plan_.input_gradient[at(index)] = ConvInputGradient(shape, table_, workers_);
          floats = std::max({floats, plan_.input_gradient[at(index)].scratch_floats(),
                             plan_.input_gradient[at(index)].pack_scratch_floats()});
        }
        b.target[0] = target(step.in[0], time);
        residual(b, step, time);
        break;
      }
      case StepKind::add:
        b.target[0] = target(step.in[0], time);
        b.target[1] = target(step.in[1], time);
        break;
      case StepKind::max_pool:
        bring(step.in[0].tensor, time);
        [[fallthrough]];
      case StepKind::avg_pool:
      case StepKind::channel_pad:
        floats = workers_ * (in.image() + 2 * arena_alignment);
        b.target[0] = target(step.in[0], time);
        break;
      default:
        b.target[0] = target(step.in[0], time);
    }
    push(b, time, floats);
  }

  // A residual that nobody else reads takes over the gradient of the sum where it lies.
  void residual(BackwardStep& b, const Step& step, int time) {
    const View& view = step.residual;
    if (!wants(view)) return;
    if (view.plain() && readers(view.tensor) == 1 && !gradient_begun_[at(view.tensor)]) {
      lives_.alias[at(view.tensor)] = lives_.alias[at(step.out)];
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

  const Graph& graph_;
  const Program& program_;
  const Wishes& wishes_;
  const KernelTable& table_;
  int workers_;
  std::int64_t all_;
  bool split_;
  Plan plan_;
  Lives lives_;
  std::vector<bool> wanted_, norm_wanted_, gradient_begun_;
  int loss_time_ = 0;
};

// Images whose largest map is still in a cache when the next step reads it.
std::int64_t images_at_once(const Program& program, std::int64_t wanted) {
  if (wanted > 0) return wanted;
  constexpr std::int64_t cache_floats = 1 << 21;
  std::int64_t largest = 1, images = 4;
  for (const Tensor& t : program.tensors) largest = std::max(largest, t.image());
  while (2 * images * largest <= cache_floats) images *= 2;
  return images;
}

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

std::int64_t compact_floats(const Tensor& t) {
  return padded_floats(t.h * t.w * (t.stride / 2 + t.stride % 2 + 1));
}

BatchPlan make_plan(const Graph& graph, const Program& program, const Wishes& wishes,
                    std::int64_t n, std::int64_t micro_batch, const KernelTable& table,
                    int workers) {
  const std::int64_t most = wishes.batch_statistics ? n : images_at_once(program, micro_batch);
  const std::int64_t parts =
      std::max<std::int64_t>((n + most - 1) / std::max<std::int64_t>(most, 1), 1);
  const auto plan = [&](std::int64_t images) {
    return Planner(graph, program, wishes, images, n, table, workers).run();
  };
  BatchPlan found;
  found.n = n;
  found.each = plan((n + parts - 1) / parts);
  if (found.each.n > 0 && n % found.each.n != 0) found.rest = plan(n % found.each.n);
  found.floats = std::max(found.each.floats, found.rest.floats);
  return found;
}

}  // namespace pyedge
