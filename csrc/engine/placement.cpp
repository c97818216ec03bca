// Where in the arena everything lies: first what waits for all images, then the rest by lifetimes.
#include "engine/placement.hpp"

#include <utility>

namespace pyedge {
namespace {

// One after the other at the arena's start: it lives while other micro-batches run.
std::int64_t place_for_all(const Program& program, Lives& lives, std::int64_t all, Plan& plan) {
  std::int64_t end = 0;
  const auto take = [&](std::int64_t floats) {
    return std::exchange(end, end + padded_floats(all * floats));
  };
  for (std::size_t t = 0; t < lives.tensors.size(); ++t) {
    const Tensor& tensor = program.tensors[t];
    if (plan.tensor_of_all[t] && lives.tensors[t].last >= 0) {
      plan.tensor_at[t] = take(tensor.image());
      lives.tensors[t].last = -1;
    }
    if (plan.gradient_of_all[t] && lives.gradients[t].last >= 0) {
      plan.gradient_at[t] = take(tensor.image());
      lives.gradients[t].last = -1;
    }
    if (lives.compact[t]) plan.compact_at[t] = take(compact_floats(tensor));
    if (lives.mask_bytes[t] > 0) {
      plan.mask_at[t] =
          std::exchange(end, end + padded_floats((all * lives.mask_bytes[t] + 3) / 4));
    }
  }
  return end;
}

// By the time that each is needed.
void place_for_some(const Program& program, const Lives& lives, std::int64_t start, Plan& plan) {
  std::vector<ArenaBlock> blocks;
  const auto add = [&](const std::vector<Life>& some, std::vector<std::int64_t>& offsets) {
    for (std::size_t i = 0; i < some.size(); ++i) {
      if (some[i].last >= 0) blocks.push_back({some[i], &offsets[i]});
    }
  };
  add(lives.tensors, plan.tensor_at);
  add(lives.back, plan.back_at);
  add(lives.gradients, plan.gradient_at);
  add(lives.norm_gradients, plan.norm_gradient_at);
  std::vector<std::int64_t> scratch_at(lives.scratch.size());
  add(lives.scratch, scratch_at);
  const std::int64_t end = start + place_blocks(blocks);
  for (const ArenaBlock& block : blocks) {
    *block.offset += start;
    plan.placed.push_back({block.life, *block.offset});
  }
  const std::size_t steps = program.steps.size();
  for (std::size_t i = 0; i < plan.backward.size(); ++i) {
    plan.backward[i].scratch_at = scratch_at[steps + i];
  }
  scratch_at.resize(steps);
  plan.scratch_at = std::move(scratch_at);
  plan.shared_floats = start;
  plan.floats = end + arena_alignment;
}

}  // namespace

void place(const Program& program, Lives lives, std::int64_t all, Plan& plan) {
  const std::size_t count = lives.tensors.size();
  plan.tensor_at.assign(count, -1);
  plan.back_at.assign(count, -1);
  plan.gradient_at.assign(count, -1);
  plan.compact_at.assign(count, -1);
  plan.mask_at.assign(count, -1);
  plan.norm_gradient_at.assign(lives.norm_gradients.size(), -1);
  for (const auto& [sum, residual] : lives.same_memory) {
    Life& whole = lives.tensors[at(sum)];
    const Life& part = lives.tensors[at(residual)];
    whole.use(part.first);
    whole.use(part.last);
    lives.tensors[at(residual)].last = -1;
  }
  const auto own = [&](std::size_t t) { return lives.alias[t] == static_cast<int>(t); };
  for (std::size_t t = 0; t < count; ++t) {
    if (!plan.in_place[t] || lives.gradients[t].last < 0 || !own(t)) continue;
    Life& values = lives.back[t].last >= 0 ? lives.back[t] : lives.tensors[t];
    values.use(lives.gradients[t].first);
    values.use(lives.gradients[t].last);
    lives.gradients[t].last = -1;
  }
  const std::int64_t start = place_for_all(program, lives, all, plan);
  place_for_some(program, lives, start, plan);
  for (std::size_t t = 0; t < count; ++t) {
    if (!plan.in_place[t] || !own(t)) continue;
    const bool back = plan.back_at[t] >= 0;
    plan.gradient_at[t] = back ? plan.back_at[t] : plan.tensor_at[t];
    plan.gradient_of_all[t] = !back && plan.tensor_of_all[t];
  }
  for (std::size_t t = 0; t < count; ++t) {
    plan.gradient_at[t] = plan.gradient_at[at(lives.alias[t])];
    plan.gradient_of_all[t] = plan.gradient_of_all[at(lives.alias[t])];
  }
  for (const auto& [sum, residual] : lives.same_memory) {
    plan.tensor_at[at(residual)] = plan.tensor_at[at(sum)];
    plan.tensor_of_all[at(residual)] = plan.tensor_of_all[at(sum)];
  }
}

}  // namespace pyedge
