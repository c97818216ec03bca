// The forward pass of a micro-batch. Steps that touch one image at a time join a convolution.
#include <algorithm>
#include <limits>
#include <utility>

#include "engine/pass.hpp"
#include "engine/poison.hpp"
#include "engine/steps/convolution.hpp"
#include "engine/steps/depthwise_chain.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

void Pass::forward(const Plan& plan, std::int64_t first) {
  begin(plan, first);
  if (poisons_arena()) poison(plan, 0, arena_);
  timed("images", "forward", [&] { load(); });
  finish_tensor(0, {});
  for (std::size_t i = 0; i < network_.program.steps.size(); ++i) {
    if (plan.host[i].step >= 0) continue;
    const Step& step = network_.program.steps[i];
    const int index = static_cast<int>(i);
    const Chain* chain = plan.chain_of(index);
    if (chain != nullptr && index != chain->last()) continue;
    if (poisons_arena() && i > 0) poison(plan, index, arena_);
    Together together;
    add_guests(index, true, together);
    if (chain != nullptr) {
      for (const int each : {chain->from, chain->depthwise, chain->to}) {
        if (each < 0) continue;
        together.add_name(network_.name_of(network_.program.steps[at(each)]));
        if (network_.program.steps[at(each)].op->convolves()) {
          pack_forward(*this, each, scratch(each));
        }
      }
      add_readers(step.out, together.work.after, together);
      add_guests(index, false, together);
      timed(together.name, "forward", [&] { run_chain(*this, *chain, together.work); });
      continue;
    }
    together.add_name(network_.name_of(step));
    if (!step.op->convolves()) {
      together.work.before.push_back(step_work(index));
      finish_tensor(step.out, std::move(together));
      continue;
    }
    float* scratch = arena_ + plan.scratch_at[i];
    pack_forward(*this, index, scratch);
    if (index == watched_.step) timed("features", "forward", [&] { copy_features(); });
    if (!watched_.ranges.empty()) timed("ranges", "forward", [&] { note_ranges(index); });
    // a batch's statistics are not there before the last image is
    const bool statistics = statistics_ == Statistics::of_batch;
    if (!statistics) {
      add_readers(step.out, together.work.after, together);
      add_guests(index, false, together);
    }
    timed(together.name, "forward", [&] { convolve(*this, index, scratch, together.work); });
    if (statistics) finish_tensor(step.out, {});
  }
}

// Does the work that makes a tensor, if any is left to do, and what reads it as soon as it is
// there.
void Pass::finish_tensor(int index, Together together) {
  const auto run = [&] {
    if (together.work.empty()) return;
    timed(together.name, "forward", [&] { together.work.around(plan_->n, [] {}); });
    together = {};
  };
  if (statistics_ == Statistics::of_batch) {
    run();
    gather_statistics(index);
  }
  add_readers(index, together.work.before, together);
  run();
}

// The steps that the convolution takes along, ahead of it or behind.
void Pass::add_guests(int host, bool before, Together& together) const {
  std::vector<ImageWork>& works = before ? together.work.before : together.work.after;
  for (std::size_t i = 0; i < network_.program.steps.size(); ++i) {
    if (plan_->host[i].step != host || plan_->host[i].before != before) continue;
    together.add_name(network_.name_of(network_.program.steps[i]));
    works.push_back(step_work(static_cast<int>(i)));
    add_readers(network_.program.steps[i].out, works, together);
  }
}

// What reads an image of a tensor as soon as it is there, while a cache holds it: J_b's sums, the
// mask and the copy in 16 bits.
void Pass::add_readers(int index, std::vector<ImageWork>& works, Together& together) const {
  if (knowledge_ == nullptr) return;
  const std::vector<View>& taps = network_.program.taps;
  for (std::size_t k = 0; k < taps.size() && !knowledge_->maps.empty(); ++k) {
    if (taps[k].tensor != index) continue;
    together.add_name("match " + std::to_string(k));
    works.push_back(match_work(static_cast<int>(k)));
  }
  if (plan_->mask_at[at(index)] >= 0) {
    together.add_name("mask");
    works.push_back([this, index](std::int64_t i, int) {
      table().mask_map(seen(plan_->masked[at(index)], i), mask(index, i));
    });
  }
  if (plan_->compact_at[at(index)] < 0) return;
  together.add_name("compact");
  works.push_back([this, index](std::int64_t i, int) {
    const Tensor& t = network_.tensor(index);
    table().compact_map(
        {tensor(index) + i * t.image(), t.h, t.w, t.stride, lens(plan_->mask[at(index)])},
        compact(index, i));
  });
}

// Of a step that is no convolution.
ImageWork Pass::step_work(int index) const {
  const StepOf of = network_.of(index);
  float* scratch = arena_ + plan_->scratch_at[at(index)];
  const std::int64_t floats = worker_floats(of.step.op->forward_floats(of));
  return [this, of, index, scratch, floats](std::int64_t i, int worker) {
    of.step.op->forward({*this, of, index, i, scratch + worker * floats});
  };
}

// What the linear step is about to read: its input lives no longer than the step. Behind a lens it
// is made in the step's own scratch memory, which has room for many images a worker.
void Pass::copy_features() const {
  const View& view = network_.program.steps[at(watched_.step)].in[0];
  const Tensor& t = network_.tensor(view.tensor);
  const std::int64_t pixels = t.h * t.w, count = pixels * t.c;
  float* scratch = arena_ + plan_->scratch_at[at(watched_.step)];
  parallel_for_workers(plan_->n, [&](std::int64_t i, int worker) {
    const ImageView image = seen(view, i);
    const float* from = image.data;
    if (!image.lens.plain()) {
      float* read = scratch + worker * t.image();
      table().copy_region({from, t.h, t.w, t.stride, 0, 0, t.h, t.w, image.lens, read});
      from = read;
    }
    float* to = watched_.features + (first_ + i) * count;
    if (pixels == 1) {
      std::copy_n(from, t.c, to);
      return;
    }
    for (std::int64_t c = 0; c < t.c; ++c) {
      for (std::int64_t y = 0; y < pixels; ++y) to[c * pixels + y] = from[y * t.stride + c];
    }
  });
}

// Of what the step is about to read.
void Pass::note_ranges(int step) const {
  float* ranges = watched_.ranges[at(step)];
  if (ranges == nullptr) return;
  const View& view = network_.program.steps[at(step)].in[0];
  const Tensor& t = network_.tensor(view.tensor);
  parallel_for_workers(plan_->n, [&](std::int64_t i, int) {
    const ImageView image = seen(view, i);
    std::vector<float> read(static_cast<std::size_t>(t.image()));
    table().copy_region({image.data, t.h, t.w, t.stride, 0, 0, t.h, t.w, image.lens, read.data()});
    float* to = ranges + 2 * (first_ + i);
    to[0] = to[1] = 0.0f;
    for (const float x : read) {
      to[0] = std::min(to[0], x);
      to[1] = x == x ? std::max(to[1], x) : std::numeric_limits<float>::infinity();
    }
  });
}

// The mean and variance of each channel over the batch, for the norms that read this tensor.
void Pass::gather_statistics(int index) const {
  const std::vector<Norm>& norms = network_.program.norms;
  const auto wants = [&](const Norm& n) { return n.tensor == index && n.has_statistics; };
  if (std::none_of(norms.begin(), norms.end(), wants)) return;
  const Tensor& t = network_.tensor(index);
  float* scratch = arena_ + plan_->scratch_at[at(std::max(t.producer, 0))];
  timed("statistics", "forward", [&] {
    const float* x = tensor(index);
    const ChannelSums sums(table(), t, plan_->n, x, x, scratch);
    for (std::size_t i = 0; i < norms.size(); ++i) {
      if (!wants(norms[i])) continue;
      network_.norms[i].gather(network_.parameters, sums,
                               static_cast<double>(plan_->n * t.h * t.w));
    }
  });
}

}  // namespace pyedge
