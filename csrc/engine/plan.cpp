// Planning: in which order the steps of both passes come, and how long each buffer lives.
#include "engine/plan.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/arena.hpp"
#include "engine/kernel_terms.hpp"
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
        needs_(graph, program, wishes),
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
      plan_.live = needs_.live();
      for (std::size_t t = 0; t < lives_.tensors.size(); ++t) {
        plan_.in_place[t] = needs_.overwritable(static_cast<int>(t));
      }
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
          plan_.host[i] = {needs_.adder(step.out), true};
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
      if (step.kind == StepKind::conv && r.tensor >= 0 && r.plain() &&
          needs_.readers(r.tensor) == 1) {
        lives_.same_memory.push_back({step.out, r.tensor});
      }
    }
  }

  // sums [n, 2, stride] in float64
  std::int64_t statistics_floats(const Tensor& t) const { return plan_.n * 4 * t.stride; }

  // The target of a gradient of the view's values, at `time`; notes what it touches.
  Target target(const View& view, int time) {
    if (!needs_.wants(view)) return {};
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
      const int made_by = needs_.repeatable(t);
      if (t == 0) {
        push({BackwardKind::images, -1, {}}, time);
      } else if (made_by >= 0) {
        bring(program_.steps[at(made_by)].in[0].tensor, time);
        push({BackwardKind::repeat, made_by, {}}, time,
             plan_.forward[at(made_by)].scratch_floats());
      } else if (split_ && needs_.compactable(t, plan_.mask[at(t)])) {
        push({BackwardKind::restore, t, {}}, time);
        lives_.compact[at(t)] = true;
      } else {
        plan_.tensor_of_all[at(t)] = split_;
        return lives_.tensors[at(t)].use(time);
      }
    }
    back.use(time);
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
      if (!needs_.wanted(step.out) || !gradient_begun_[at(step.out)]) continue;
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
      if (tap.tensor != t || !needs_.wants(tap)) continue;
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
      if (needs_.wanted(t)) step.target[0] = target({t, -1, Clamp::none}, time);
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
        if (needs_.wants(step.in[0])) {
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
        if (!at_once(step)) floats = workers_ * (in.image() + 2 * arena_alignment);
        b.target[0] = target(step.in[0], time);
        break;
      default:
        b.target[0] = target(step.in[0], time);
    }
    push(b, time, floats);
  }

  // Without values in between: see Engine::pool_work.
  bool at_once(const Step& step) const {
    return step.kind == StepKind::avg_pool &&
           tiles(pool_window(graph_.nodes[at(step.node)], tensor(step.out)),
                 tensor(step.in[0].tensor));
  }

  // A residual that nobody else reads takes over the gradient of the sum where it lies.
  void residual(BackwardStep& b, const Step& step, int time) {
    const View& view = step.residual;
    if (!needs_.wants(view)) return;
    if (view.plain() && needs_.readers(view.tensor) == 1 && !gradient_begun_[at(view.tensor)]) {
      lives_.alias[at(view.tensor)] = lives_.alias[at(step.out)];
      gradient_begun_[at(view.tensor)] = true;
      b.alias = true;
      b.target[1] = {view.tensor, false, false};
      return;
    }
    b.target[1] = target(view, time);
  }

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
