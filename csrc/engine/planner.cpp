// Planning: in which order the steps of both passes come, and how long each buffer lives.
#include "engine/planner.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "engine/arena.hpp"
#include "engine/steps/depthwise_chain.hpp"

namespace pyedge {

Planner::Planner(const Graph& graph, const Program& program, const Wishes& wishes,
                 std::int64_t images, std::int64_t all, const KernelTable& table, int workers)
    : graph_(graph),
      program_(program),
      wishes_(wishes),
      needs_(graph, program, wishes),
      table_(table),
      workers_(workers),
      all_(all),
      split_(images < all) {
  plan_.n = images;
  lives_.tensors.resize(program.tensors.size());
  lives_.gradients.resize(program.tensors.size());
  lives_.back.resize(program.tensors.size());
  lives_.norm_gradients.resize(program.norms.size());
  lives_.alias.resize(program.tensors.size());
  std::iota(lives_.alias.begin(), lives_.alias.end(), 0);
  for (std::size_t i = 0; i < lives_.tensors.size(); ++i) {
    lives_.tensors[i].floats = lives_.gradients[i].floats = lives_.back[i].floats =
        images * program.tensors[i].image();
  }
  for (std::size_t i = 0; i < lives_.norm_gradients.size(); ++i) {
    lives_.norm_gradients[i].floats = images * tensor(program.norms[i].tensor).image();
  }
}

Plan Planner::run() {
  const std::size_t steps = program_.steps.size();
  plan_.forward.resize(steps);
  plan_.input_gradient.resize(steps);
  plan_.weight_gradient.resize(steps);
  plan_.live.assign(program_.norms.size(), false);
  plan_.in_place.assign(program_.tensors.size(), false);
  plan_.tensor_of_all.assign(program_.tensors.size(), false);
  plan_.gradient_of_all.assign(program_.tensors.size(), false);
  lives_.compact.assign(program_.tensors.size(), false);
  lives_.mask_bytes.assign(program_.tensors.size(), 0);
  plan_.masked.resize(program_.tensors.size());
  plan_.mask.resize(program_.tensors.size());
  loss_time_ = static_cast<int>(steps);
  lives_.scratch.resize(steps);
  find_hosts();
  forward();
  if (wishes_.training) {
    plan_.live = needs_.live();
    for (std::size_t t = 0; t < lives_.tensors.size(); ++t) {
      const int tensor = static_cast<int>(t);
      plan_.in_place[t] = needs_.masked(tensor).tensor < 0 && needs_.overwritable(tensor);
    }
    backward();
  }
  place(program_, lives_, all_, plan_);
  return std::move(plan_);
}

void Planner::forward_scratch(int step, std::int64_t floats) {
  if (floats == 0) return;
  Life& life = lives_.scratch[at(step)];
  life.floats = std::max(life.floats, floats);
  life.use(time_);
}

void Planner::stream(int step) {
  constexpr std::int64_t beyond_caches = std::int64_t{1} << 24;  // floats: 64 MB
  const auto rides_with = [&](const Host& each) { return each.step == step; };
  const std::int64_t floats = plan_.n * (of(step).in().image() + of(step).out().image());
  plan_.streams[at(step)] = !wishes_.training && floats > beyond_caches &&
                            plan_.host[at(step)].step < 0 &&
                            std::none_of(plan_.host.begin(), plan_.host.end(), rides_with);
}

// The batch's statistics are not there before the last image is: nothing joins then.
void Planner::find_hosts() {
  plan_.host.resize(program_.steps.size());
  plan_.streams.resize(program_.steps.size());
  if (wishes_.training && wishes_.batch_statistics) return;
  if (!wishes_.apart) plan_.chains = find_chains(graph_, program_, needs_, plan_.n, workers_);
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (plan_.chain_of(static_cast<int>(i)) != nullptr) continue;
    const Step& step = program_.steps[i];
    switch (step.op->rides()) {
      case Rides::before_adder:
        plan_.host[i] = {needs_.adder(step.out), true};
        break;
      case Rides::behind_maker: {
        const int maker = tensor(step.in[0].tensor).producer;
        if (maker >= 0 && program_.steps[at(maker)].op->convolves()) {
          plan_.host[i] = {maker, false};
        }
        break;
      }
      case Rides::alone:
        break;
    }
  }
}

void Planner::forward() {
  lives_.tensors[0].use(0);
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    const Step& step = program_.steps[i];
    const int index = static_cast<int>(i), host = plan_.host[i].step;
    const Chain* chain = plan_.chain_of(index);
    time_ = chain != nullptr ? chain->last() : host >= 0 ? host : index;
    for (const View& view : step.in) {
      const int maker = tensor(view.tensor).producer;
      if (maker >= 0 && chain != nullptr && chain->hides(maker)) continue;
      lives_.tensors[at(view.tensor)].use(time_);
    }
    if (step.residual.tensor >= 0) lives_.tensors[at(step.residual.tensor)].use(time_);
    if (chain == nullptr || !chain->hides(index)) lives_.tensors[at(step.out)].use(time_);
    step.op->plan_forward(*this, index);
  }
  share_residuals();
  if (wishes_.training && wishes_.batch_statistics) {
    for (const Norm& norm : program_.norms) {
      const Tensor& t = tensor(norm.tensor);
      time_ = std::max(t.producer, 0);
      if (norm.has_statistics) forward_scratch(time_, sums_floats(t));
    }
  }
  lives_.tensors[at(program_.output.tensor)].use(loss_time_);
  plan_.tensor_of_all[at(program_.output.tensor)] = split_ && wishes_.training;
}

// A convolution that adds a residual nobody else reads writes its sum over it.
void Planner::share_residuals() {
  for (const Step& step : program_.steps) {
    const View& r = step.residual;
    if (r.tensor >= 0 && r.plain() && needs_.readers(r.tensor) == 1) {
      lives_.same_memory.push_back({step.out, r.tensor});
    }
  }
}

// Notes what the target touches.
Target Planner::target(const View& view) {
  if (!needs_.wants(view)) return {};
  Target found;
  if (view.norm >= 0 && plan_.live[at(view.norm)]) {
    found = {view.norm, true, lives_.norm_gradients[at(view.norm)].last >= 0};
    lives_.norm_gradients[at(view.norm)].use(time_);
  } else {
    const int t = view.tensor;
    found = {t, false,
             lives_.gradients[at(lives_.alias[at(t)])].last >= 0 && gradient_begun_[at(t)]};
    lives_.gradients[at(lives_.alias[at(t)])].use(time_);
    gradient_begun_[at(t)] = true;
  }
  if (view.clamp != Clamp::none && needs_.masked(view.tensor).tensor >= 0) {
    plan_.masked[at(view.tensor)] = needs_.masked(view.tensor);
    lives_.mask_bytes[at(view.tensor)] = mask_bytes(tensor(view.tensor), table_);
    return found;
  }
  // its mask, and J_b's share where the gradient is written over the values
  if (view.clamp != Clamp::none || plan_.in_place[at(view.tensor)]) bring(view.tensor);
  return found;
}

void Planner::bring(int t) {
  Life& back = lives_.back[at(t)];
  if (back.last < 0) {
    const int made_by = needs_.repeatable(t);
    if (t == 0) {
      push({BackwardKind::images, -1, {}});
    } else if (made_by >= 0) {
      bring(program_.steps[at(made_by)].in[0].tensor);
      BackwardStep again{BackwardKind::repeat, made_by, {}};
      again.scratch_floats = plan_.forward[at(made_by)].scratch_floats();
      push(again);
    } else if (split_ && needs_.compactable(t, plan_.mask[at(t)])) {
      push({BackwardKind::restore, t, {}});
      lives_.compact[at(t)] = true;
    } else {
      plan_.tensor_of_all[at(t)] = split_;
      return lives_.tensors[at(t)].use(time_);
    }
  }
  back.use(time_);
}

void Planner::backward() {
  gradient_begun_.assign(program_.tensors.size(), false);
  time_ = loss_time_;
  gradient_begun_[at(program_.output.tensor)] = true;
  lives_.gradients[at(program_.output.tensor)].use(time_);
  plan_.gradient_of_all[at(program_.output.tensor)] = split_;
  for (std::size_t i = program_.steps.size(); i-- > 0;) {
    const Step& step = program_.steps[i];
    plan_taps(step.out);
    plan_norms(step.out);
    if (!needs_.wanted(step.out) || !gradient_begun_[at(step.out)]) continue;
    BackwardStep b{BackwardKind::step, static_cast<int>(i), {}};
    next(b);
    lives_.gradients[at(lives_.alias[at(step.out)])].use(time_);
    step.op->plan_backward(*this, b);
    push(b);
  }
  plan_taps(0);
  plan_norms(0);
}

// Whether the step touches one image after the other, but for a convolution's weight gradient.
bool Planner::by_image(const BackwardStep& step) const {
  return step.kind == BackwardKind::restore || step.kind == BackwardKind::tap ||
         step.kind == BackwardKind::step;
}

bool Planner::is_conv(const BackwardStep& step) const {
  return step.kind == BackwardKind::step && program_.steps[at(step.index)].op->convolves();
}

// Whether the step can go through the images together with the last one that was planned: a
// convolution with other convolutions' weights in the cache cannot.
bool Planner::joins(const BackwardStep& step) const {
  if (plan_.backward.empty() || !by_image(step) || !by_image(plan_.backward.back())) return false;
  if (step.kind == BackwardKind::step && wishes_.step_learns[at(step.index)]) return false;
  if (!is_conv(step)) return true;
  for (std::size_t i = plan_.backward.size(); i-- > 0;) {
    if (is_conv(plan_.backward[i])) return false;
    if (!plan_.backward[i].joined) break;
  }
  return true;
}

// Steps that go through the images together run at one time.
void Planner::next(const BackwardStep& step) {
  if (!joins(step)) ++time_;
}

void Planner::push(BackwardStep step) {
  step.joined = joins(step) && plan_.backward.back().time == time_;
  step.time = time_;
  plan_.backward.push_back(step);
  lives_.scratch.push_back({});
  if (step.scratch_floats == 0) return;
  lives_.scratch.back().floats = step.scratch_floats;
  lives_.scratch.back().use(time_);
}

// A tap's share of a gradient comes last, so that the gradient need not live since the loss.
void Planner::plan_taps(int t) {
  for (std::size_t i = 0; i < program_.taps.size(); ++i) {
    const View& tap = program_.taps[i];
    if (tap.tensor != t || !needs_.wants(tap)) continue;
    BackwardStep step{BackwardKind::tap, static_cast<int>(i), {}};
    next(step);
    bring(t);
    step.target[0] = target(tap);
    push(step);
  }
}

// Norms on a tensor come before the step that made it: by then their gradient is whole.
void Planner::plan_norms(int t) {
  for (std::size_t i = 0; i < program_.norms.size(); ++i) {
    if (program_.norms[i].tensor != t || lives_.norm_gradients[i].last < 0) continue;
    ++time_;
    lives_.norm_gradients[i].use(time_);
    bring(t);
    BackwardStep step{BackwardKind::norm, static_cast<int>(i), {}};
    if (needs_.wanted(t)) step.target[0] = target({t, -1, Clamp::none});
    step.scratch_floats = sums_floats(tensor(t));
    push(step);
  }
}

void Planner::residual(BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const View& view = step.residual;
  if (!needs_.wants(view)) return;
  if (view.plain() && needs_.readers(view.tensor) == 1 && !gradient_begun_[at(view.tensor)]) {
    lives_.alias[at(view.tensor)] = lives_.alias[at(step.out)];
    gradient_begun_[at(view.tensor)] = true;
    b.alias = true;
    b.target[1] = {view.tensor, false, false};
    return;
  }
  b.target[1] = target(view);
}

namespace {

// Images whose largest map is still in a cache when the next step reads it. A step that learns
// keeps to those of its whole network, hidden maps too: twice as many took a tenth more memory and
// no less time (MobileNetV2 at 96 pixels).
std::int64_t images_at_once(const Graph& graph, const Program& program, const Wishes& wishes) {
  constexpr std::int64_t cache_floats = 1 << 21;
  std::vector<bool> hidden(program.tensors.size());
  std::vector<Chain> chains;
  if (!wishes.training && !wishes.apart)
    chains = find_chains(graph, program, Needs(graph, program, wishes), 1, 1);
  for (const Chain& chain : chains) {
    for (const int step : {chain.from, chain.depthwise}) {
      if (step >= 0 && chain.hides(step)) hidden[at(program.steps[at(step)].out)] = true;
    }
  }
  std::int64_t largest = 1, images = 4;
  for (std::size_t t = 0; t < hidden.size(); ++t) {
    if (!hidden[t]) largest = std::max(largest, program.tensors[t].image());
  }
  while (2 * images * largest <= cache_floats) images *= 2;
  return images;
}

}  // namespace

const Chain* Plan::chain_of(int step) const {
  const auto found =
      std::find_if(chains.begin(), chains.end(), [&](const Chain& c) { return c.has(step); });
  return found == chains.end() ? nullptr : &*found;
}

std::int64_t compact_floats(const Tensor& t) {
  return padded_floats(t.h * t.w * (t.stride / 2 + t.stride % 2 + 1));
}

std::int64_t mask_bytes(const Tensor& t, const KernelTable& table) {
  return t.image() / table.lanes * table.mask_bytes;
}

BatchPlan make_plan(const Graph& graph, const Program& program, const Wishes& wishes,
                    std::int64_t n, std::int64_t micro_batch, const KernelTable& table,
                    int workers) {
  const std::int64_t most = wishes.batch_statistics ? n
                            : micro_batch > 0       ? micro_batch
                                                    : images_at_once(graph, program, wishes);
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
