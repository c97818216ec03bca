// The masked backward pass of a micro-batch: gradients exist only where something trainable needs
// them.
#include <algorithm>

#include "engine/pass.hpp"
#include "engine/poison.hpp"
#include "engine/steps/convolution.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

void Pass::backward(const Plan& plan, std::int64_t first) {
  begin(plan, first);
  const std::vector<BackwardStep>& steps = plan.backward;
  for (std::size_t i = 0, end; i < steps.size(); i = end) {
    for (end = i + 1; end < steps.size() && steps[end].joined;) ++end;
    const BackwardStep& b = steps[i];
    if (poisons_arena() && (i == 0 || steps[i - 1].time != b.time)) poison(plan, b.time, arena_);
    switch (b.kind) {
      case BackwardKind::images:
        back_[0] = true;
        timed("images", "forward again", [&] { load(); });
        break;
      case BackwardKind::repeat: {
        const Step& step = network_.program.steps[at(b.index)];
        back_[at(step.out)] = true;
        timed(network_.name_of(step), "forward again",
              [&] { convolve(*this, b.index, scratch(b), {}); });
        break;
      }
      case BackwardKind::norm:
        timed(network_.graph.nodes[at(network_.program.norms[at(b.index)].node)].name, "backward",
              [&] { backward_norm(b); });
        break;
      default:
        backward_together(i, end);
    }
  }
}

// Steps [first, end), image by image; one of them may be a convolution.
void Pass::backward_together(std::size_t first, std::size_t end) {
  Together together;
  const BackwardStep* conv = nullptr;
  const auto add = [&](const std::string& name, const ImageWork& work) {
    if (!work) return;
    together.add_name(name);
    (conv == nullptr ? together.work.before : together.work.after).push_back(work);
  };
  for (std::size_t i = first; i < end; ++i) {
    const BackwardStep& b = plan_->backward[i];
    if (b.kind == BackwardKind::restore) {
      add("restore", restore_work(b));
      continue;
    }
    if (b.kind == BackwardKind::tap) {
      add("match " + std::to_string(b.index), match_gradient(b));
      continue;
    }
    const Step& step = network_.program.steps[at(b.index)];
    if (b.weights) {
      timed(network_.name_of(step), "weight gradient", [&] { step.op->weight_gradient(*this, b); });
    }
    if (step.op->convolves()) {
      conv = &b;
      together.add_name(network_.name_of(step));
      if (!b.alias) add("residual", residual_work(b));
      continue;
    }
    for (std::size_t input = 0; input < step.in.size(); ++input) {
      add(network_.name_of(step), backward_work(b, input));
    }
  }
  Finish put;
  if (conv != nullptr &&
      finish_for(conv->target[0], network_.program.steps[at(conv->index)].in[0], put)) {
    return input_gradient(*this, *conv, put, together.name, together.work);
  }
  if (together.work.empty()) return;
  timed(together.name, "backward", [&] { together.work.around(plan_->n, [] {}); });
}

ImageWork Pass::restore_work(const BackwardStep& b) {
  back_[at(b.index)] = true;
  return [this, index = b.index](std::int64_t i, int) {
    const Tensor& t = network_.tensor(index);
    table().restore_map(compact(index, i), t.h * t.w, t.stride, tensor(index) + i * t.image());
  };
}

// Where a gradient of the view's values goes, for the first image. False: nobody wants it.
bool Pass::finish_for(const Target& target, const View& view, Finish& finish) const {
  if (target.index < 0) return false;
  const Tensor& t = network_.tensor(view.tensor);
  finish = Finish(
      target.norm ? arena_ + plan_->norm_gradient_at[at(target.index)] : gradient(target.index),
      t.w * t.stride, t.stride);
  finish.accumulate = target.accumulate;
  if (!view.plain()) {
    finish.lens = lens(view);
    if (!target.norm) finish.gain = finish.lens.scale;
    if (plan_->mask_at[at(view.tensor)] < 0) {
      finish.base = tensor(view.tensor);
    } else if (view.clamp != Clamp::none) {
      finish.mask = mask(view.tensor, 0);
    }
  }
  if (!target.norm && !target.accumulate && plan_->in_place[at(view.tensor)]) {
    const std::vector<View>& taps = network_.program.taps;
    for (std::size_t i = 0; i < taps.size(); ++i) {
      if (taps[i].tensor != view.tensor || by_student_[i].empty()) continue;
      finish.betas = by_student_[i].data() + first_;  // the values' own share of J_b's gradient
      finish.image_floats = t.image();
    }
  }
  return true;
}

// Of a step that is no convolution.
ImageWork Pass::backward_work(const BackwardStep& b, std::size_t input) const {
  const StepOf of = network_.of(b.index);
  Finish put;
  if (!finish_for(b.target[input], of.step.in[input], put)) return {};
  const float* slope = gradient(of.step.out);
  const std::int64_t floats = worker_floats(of.step.op->backward_floats(of));
  return [this, of, index = b.index, input, put, slope, floats, scratch = scratch(b)](
             std::int64_t i, int worker) {
    of.step.op->backward({*this, of, index, i, scratch + worker * floats}, input,
                         slope + i * of.out().image(), put.at(i * of.in(input).image()));
  };
}

void Pass::add_bias_gradient(const BackwardStep& b) const {
  const int bias = network_.weights[at(b.index)].bias;
  if (bias < 0) return;
  const StepOf of = network_.of(b.index);
  const float* slope = gradient(of.step.out);
  const ChannelSums sums(table(), of.out(), plan_->n, slope, slope, scratch(b));
  float* to = network_.parameters[bias].gradient.data();
  for (std::int64_t c = 0; c < of.out().c; ++c) to[c] += static_cast<float>(sums.of_a(c));
}

// From the gradient of a sum to that of what a convolution added.
ImageWork Pass::residual_work(const BackwardStep& b) const {
  const Step& step = network_.program.steps[at(b.index)];
  Finish put;
  if (!finish_for(b.target[1], step.residual, put)) return {};
  return [this, put, slope = gradient(step.out), &t = network_.tensor(step.residual.tensor)](
             std::int64_t i, int) {
    table().finish_region(put.at(i * t.image()), slope + i * t.image(), t.h, t.w, {0, 0, 1, 1});
  };
}

// From the gradient of a norm's result to those of its weight and bias, and of its tensor.
void Pass::backward_norm(const BackwardStep& b) const {
  const Norm& norm = network_.program.norms[at(b.index)];
  const Tensor& t = network_.tensor(norm.tensor);
  const float* g = arena_ + plan_->norm_gradient_at[at(b.index)];
  const float* x = tensor(norm.tensor);
  const ChannelSums sums(table(), t, plan_->n, g, x, scratch(b));
  const NormState::Factors by = network_.norms[at(b.index)].backward(
      network_.parameters, sums, static_cast<double>(plan_->n * t.h * t.w), statistics_);
  if (b.target[0].index < 0) return;
  float* to = gradient(b.target[0].index);
  parallel_for(plan_->n, [&](std::int64_t i) {
    const std::int64_t from = i * t.image();
    table().combine(g + from, x + from, t.h * t.w, t.stride, by.by_gradient.data(),
                    by.by_map.data(), by.constant.data(), to + from, b.target[0].accumulate);
  });
}

}  // namespace pyedge
