// The masked backward pass: gradients exist only where something trainable needs them.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/engine.hpp"
#include "engine/kernel_terms.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {

StepResult Engine::step(const ImageBatch& images, const Knowledge& knowledge) {
  gradients_ready_ = false;
  const BatchPlan& batch = plan(images.n, true);
  const auto n = static_cast<std::size_t>(images.n);
  sums_.clear();
  for (const std::vector<TeacherMaps>& blocks : knowledge.maps) {
    sums_.push_back({std::vector<double>(blocks.size() * n), std::vector<double>(n)});
  }
  batch.for_each([&](const Plan& p, std::int64_t first) {
    first_ = first;
    run_forward(p, part_of(images, first, p.n), batch_statistics_, &knowledge, {});
  });
  first_ = 0;
  StepResult result;
  const Tensor& out = program_.tensors[at(program_.output.tensor)];
  const float* logits = tensor(batch.each, program_.output.tensor);
  float* slope = gradient(batch.each, program_.output.tensor);
  std::fill_n(slope, images.n * out.stride, 0.0f);
  const double* lambdas = knowledge.lambdas;
  if (knowledge.logits != nullptr) {
    result.j1 =
        logits_distance(logits, knowledge.logits, images.n, out.c, out.stride, lambdas[0], slope);
  }
  if (knowledge.labels != nullptr) {
    result.j3 =
        cross_entropy(logits, knowledge.labels, images.n, out.c, out.stride, lambdas[2], slope);
  }
  std::vector<GroupMatch> matches;
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    matches.push_back(match_group(sums_[i], knowledge.norms[i], knowledge.mapped,
                                  static_cast<std::int64_t>(knowledge.maps[i].size()), images.n,
                                  knowledge.norms_by_image));
    result.jb += matches.back().distance;
    result.pairs.push_back(matches.back().best);
  }
  result.loss = lambdas[0] * result.j1 + lambdas[1] * result.jb + lambdas[2] * result.j3;
  if (!std::isfinite(result.loss)) throw NotFinite("the loss");
  begin_backward(knowledge, matches);
  batch.for_each([&](const Plan& p, std::int64_t first) {
    first_ = first;
    run_backward(p, part_of(images, first, p.n), knowledge, matches);
  });
  timed("gradient norm", "backward", [&] { gradient_norm_ = parameters_.gradient_norm(); });
  result.gradient_norm = gradient_norm_;
  if (!std::isfinite(gradient_norm_)) throw NotFinite("a gradient");
  gradients_ready_ = true;
  return result;
}

// One image of the micro-batch.
void Engine::match(const Plan& p, int group, std::int64_t i, const Knowledge& knowledge) {
  const View& tap = program_.taps[at(group)];
  const Tensor& t = program_.tensors[at(tap.tensor)];
  const auto image = static_cast<std::size_t>(first_ + i);
  if (knowledge.mapped != nullptr && !knowledge.mapped[image]) return;
  MatchSums& sums = sums_[at(group)];
  std::vector<TeacherMap> maps;
  for (const TeacherMaps& block : knowledge.maps[at(group)]) {
    maps.push_back(teacher_map(block, knowledge.map_rows[image], t.h * t.w * t.c));
  }
  std::vector<double> found(maps.size());
  table().map_sums(image_view(p, tap, i, batch_statistics_), maps.data(),
                   static_cast<std::int64_t>(maps.size()), t.c, found.data(), &sums.squares[image]);
  for (std::size_t k = 0; k < found.size(); ++k) {
    sums.dots[k * sums.squares.size() + image] = found[k];
  }
}

void Engine::begin_backward(const Knowledge& knowledge, const std::vector<GroupMatch>& matches) {
  by_student_.assign(program_.taps.size(), {});
  for (std::size_t i = 0; i < matches.size(); ++i) {
    for (const float factor : matches[i].by_student) {
      by_student_[i].push_back(static_cast<float>(knowledge.lambdas[1]) * factor);
    }
  }
  for (Parameter& parameter : parameters_.all()) {
    if (parameter.trainable) {
      std::fill_n(parameter.gradient.data(), parameter.gradient.floats(), 0.0f);
    }
  }
}

void Engine::run_backward(const Plan& p, const ImageBatch& images, const Knowledge& knowledge,
                          const std::vector<GroupMatch>& matches) {
  back_.assign(program_.tensors.size(), false);
  const std::vector<BackwardStep>& steps = p.backward;
  for (std::size_t i = 0, end; i < steps.size(); i = end) {
    for (end = i + 1; end < steps.size() && steps[end].joined;) ++end;
    const BackwardStep& b = steps[i];
    switch (b.kind) {
      case BackwardKind::images:
        back_[0] = true;
        timed("images", "forward again", [&] { load(p, images); });
        break;
      case BackwardKind::repeat:
        back_[at(program_.steps[at(b.index)].out)] = true;
        timed(step_name(program_.steps[at(b.index)]), "forward again",
              [&] { convolve(p, b.index, batch_statistics_, arena_.data() + b.scratch_at, {}); });
        break;
      case BackwardKind::norm:
        timed(graph_.nodes[at(program_.norms[at(b.index)].node)].name, "backward",
              [&] { backward_norm(p, b); });
        break;
      default:
        backward_together(p, i, end, knowledge, matches);
    }
  }
}

// Steps [first, end), image by image; one of them may be a convolution.
void Engine::backward_together(const Plan& p, std::size_t first, std::size_t end,
                               const Knowledge& knowledge, const std::vector<GroupMatch>& matches) {
  Together together;
  const BackwardStep* conv = nullptr;
  const auto add = [&](const std::string& name, const ImageWork& work) {
    if (!work) return;
    together.add_name(name);
    (conv == nullptr ? together.work.before : together.work.after).push_back(work);
  };
  for (std::size_t i = first; i < end; ++i) {
    const BackwardStep& b = p.backward[i];
    if (b.kind == BackwardKind::restore) {
      add("restore", restore_work(p, b));
      continue;
    }
    if (b.kind == BackwardKind::tap) {
      add("match " + std::to_string(b.index), match_work(p, b, knowledge, matches));
      continue;
    }
    const Step& step = program_.steps[at(b.index)];
    const float* slope = gradient(p, step.out);
    switch (step.kind) {
      case StepKind::conv:
        conv = &b;
        together.add_name(step_name(step));
        if (b.weights) backward_weights(p, b);
        if (!b.alias) add("residual", deliver_work(p, b.target[1], step.residual, slope));
        break;
      case StepKind::add:
        add("add", deliver_work(p, b.target[0], step.in[0], slope));
        add("add", deliver_work(p, b.target[1], step.in[1], slope));
        break;
      case StepKind::copy:
        add("copy", deliver_work(p, b.target[0], step.in[0], slope));
        break;
      default:
        add(step_name(step), pool_work(p, b));
    }
  }
  Finish finish;
  if (conv == nullptr ||
      !finish_for(p, conv->target[0], program_.steps[at(conv->index)].in[0], finish)) {
    if (together.work.empty()) return;
    return timed(together.name, "backward", [&] { together.work.around(p.n, [] {}); });
  }
  float* scratch = arena_.data() + conv->scratch_at;
  pack_backward(p, conv->index, scratch);
  timed(together.name, "input gradient", [&] {
    p.input_gradient[at(conv->index)].run(gradient(p, program_.steps[at(conv->index)].out),
                                          convs_[at(conv->index)].backward.data(), finish, scratch,
                                          together.work);
  });
}

ImageWork Engine::restore_work(const Plan& p, const BackwardStep& b) {
  back_[at(b.index)] = true;
  return [this, &p, index = b.index](std::int64_t i, int) {
    const Tensor& t = program_.tensors[at(index)];
    table().restore_map(compact(p, index, i), t.h * t.w, t.stride,
                        tensor(p, index) + i * t.image());
  };
}

// Where a gradient of the view's values goes, for the first image. False: nobody wants it.
bool Engine::finish_for(const Plan& p, const Target& target, const View& view, Finish& finish) {
  if (target.index < 0) return false;
  const Tensor& t = program_.tensors[at(view.tensor)];
  finish = Finish(target.norm ? arena_.data() + p.norm_gradient_at[at(target.index)]
                              : gradient(p, target.index),
                  t.w * t.stride, t.stride);
  finish.accumulate = target.accumulate;
  if (!view.plain()) {
    finish.lens = lens(view, batch_statistics_);
    if (!target.norm) finish.gain = finish.lens.scale;
    finish.base = tensor(p, view.tensor);
  }
  if (!target.norm && !target.accumulate && p.in_place[at(view.tensor)]) {
    for (std::size_t i = 0; i < program_.taps.size(); ++i) {
      if (program_.taps[i].tensor != view.tensor || by_student_[i].empty()) continue;
      finish.betas = by_student_[i].data() + first_;  // the values' own share of J_b's gradient
      finish.image_floats = t.image();
    }
  }
  return true;
}

// J_b's share of a gradient.
ImageWork Engine::match_work(const Plan& p, const BackwardStep& b, const Knowledge& knowledge,
                             const std::vector<GroupMatch>& matches) {
  Finish finish;
  if (!finish_for(p, b.target[0], program_.taps[at(b.index)], finish)) return {};
  const std::int64_t floats = program_.tensors[at(program_.taps[at(b.index)].tensor)].image();
  if (knowledge.maps.empty()) {  // later contributions add to it
    if (finish.accumulate) return {};
    return [=](std::int64_t i, int) { std::fill_n(finish.out + i * floats, floats, 0.0f); };
  }
  finish.betas = nullptr;
  return [this, &p, &knowledge, &match = matches[at(b.index)], finish, index = b.index](
             std::int64_t i, int) {
    const View& tap = program_.taps[at(index)];
    const Tensor& t = program_.tensors[at(tap.tensor)];
    const auto k = static_cast<std::size_t>(first_ + i);
    const TeacherMaps& block = knowledge.maps[at(index)][at(match.best)];
    // where the gradient lies over the values, their share is in it already
    const float by_student = p.in_place[at(tap.tensor)] ? 0.0f : by_student_[at(index)][k];
    const float by_teacher = static_cast<float>(knowledge.lambdas[1]) * match.by_teacher[k];
    table().map_gradient(image_view(p, tap, i, batch_statistics_),
                         teacher_map(block, knowledge.map_rows[k], t.h * t.w * t.c), t.c,
                         by_teacher, by_student, finish.at(i * t.image()));
  };
}

// gradient [n, like the view] -> target
ImageWork Engine::deliver_work(const Plan& p, const Target& target, const View& view,
                               const float* gradient) {
  Finish finish;
  if (!finish_for(p, target, view, finish)) return {};
  const Tensor& t = program_.tensors[at(view.tensor)];
  return [this, &t, finish, gradient](std::int64_t i, int) {
    table().finish_region(finish.at(i * t.image()), gradient + i * t.image(), t.h, t.w,
                          {0, 0, 1, 1});
  };
}

void Engine::backward_weights(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const ConvWeights& c = convs_[at(b.index)];
  Parameter& weight = parameters_[c.weight];
  float* scratch = arena_.data() + b.scratch_at;
  timed(step_name(step), "weight gradient", [&] {
    p.weight_gradient[at(b.index)].run(tensor(p, step.in[0].tensor),
                                       lens(step.in[0], batch_statistics_), gradient(p, step.out),
                                       weight.gradient.data(), scratch);
    weight.layout.clear_outside_groups(weight.gradient.data());
    if (c.bias >= 0) bias_gradient(p, b.index, scratch);
  });
}

void Engine::pack_backward(const Plan& p, int index, float* scratch) {
  ConvWeights& c = convs_[at(index)];
  const Parameter& weight = parameters_[c.weight];
  if (c.backward_version == weight.version) return;
  timed(weight.name, "pack", [&] {
    const ConvInputGradient& how = p.input_gradient[at(index)];
    if (c.backward.floats() == 0) c.backward = Buffer(how.packed_floats());
    how.pack(weight.values.data(), c.backward.data(), scratch);
  });
  c.backward_version = weight.version;
}

void Engine::bias_gradient(const Plan& p, int index, float* scratch) {
  const Tensor& t = program_.tensors[at(program_.steps[at(index)].out)];
  const float* slope = gradient(p, program_.steps[at(index)].out);
  auto* sums = reinterpret_cast<double*>(scratch);
  parallel_for(p.n, [&](std::int64_t i) {
    const float* image = slope + i * t.image();
    table().channel_sums(image, image, t.h * t.w, t.stride, sums + i * 2 * t.stride);
  });
  float* to = parameters_[convs_[at(index)].bias].gradient.data();
  for (std::int64_t c = 0; c < t.c; ++c) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < p.n; ++i) sum += sums[i * 2 * t.stride + c];
    to[c] += static_cast<float>(sum);
  }
}

// Of a pool or a channel pad.
ImageWork Engine::pool_work(const Plan& p, const BackwardStep& b) {
  Finish finish;
  if (!finish_for(p, b.target[0], program_.steps[at(b.index)].in[0], finish)) return {};
  return [this, &p, &b, finish](std::int64_t i, int worker) {
    const Step& step = program_.steps[at(b.index)];
    const View& view = step.in[0];
    const Tensor &in = program_.tensors[at(view.tensor)], &out = program_.tensors[at(step.out)];
    const float* from = gradient(p, step.out) + i * out.image();
    const Finish put = finish.at(i * in.image());
    if (step.kind == StepKind::global_avg_pool) {
      return table().spread_average(from, in.h, in.w, put);
    }
    const PoolWindow window = pool_window(graph_.nodes[at(step.node)], out);
    if (step.kind == StepKind::avg_pool && tiles(window, in)) {
      return table().average_tiles_backward(from, window, put);
    }
    const ImageView image = image_view(p, view, i, batch_statistics_);
    float* values = arena_.data() + b.scratch_at + worker * ((in.image() + 31) / 16 * 16);
    if (step.kind == StepKind::channel_pad) {
      table().unpad_channels(from, in.h * in.w, out.stride, places(b.index), values, in.stride);
    } else {
      std::fill_n(values, in.image(), 0.0f);
      if (step.kind == StepKind::avg_pool) {
        table().average_pool_backward(image, window, from, values);
      } else {
        table().max_pool_backward(image, window, from, values);
      }
    }
    table().finish_region(put, values, in.h, in.w, {0, 0, 1, 1});
  };
}

// From the gradient of a norm's result to those of its weight and bias, and of its tensor.
void Engine::backward_norm(const Plan& p, const BackwardStep& b) {
  const Norm& norm = program_.norms[at(b.index)];
  NormState& state = norms_[at(b.index)];
  const Tensor& t = program_.tensors[at(norm.tensor)];
  const float* g = arena_.data() + p.norm_gradient_at[at(b.index)];
  const float* x = tensor(p, norm.tensor);
  auto* sums = reinterpret_cast<double*>(arena_.data() + b.scratch_at);
  parallel_for(p.n, [&](std::int64_t i) {
    table().channel_sums(g + i * t.image(), x + i * t.image(), t.h * t.w, t.stride,
                         sums + i * 2 * t.stride);
  });
  const bool batch = batch_statistics_ && norm.has_statistics;
  const double count = static_cast<double>(p.n * t.h * t.w);
  const double eps = graph_.nodes[at(norm.node)].eps;
  const auto stride = static_cast<std::size_t>(t.stride);
  std::vector<float> by_gradient(stride), by_map(stride), constant(stride);
  Parameter &weight = parameters_[state.weight], &bias = parameters_[state.bias];
  for (std::int64_t c = 0; c < t.c; ++c) {
    const auto k = static_cast<std::size_t>(c);
    double sum = 0.0, product = 0.0;  // of g, of g x
    for (std::int64_t i = 0; i < p.n; ++i) {
      sum += sums[i * 2 * t.stride + c];
      product += sums[(2 * i + 1) * t.stride + c];
    }
    double mean = 0.0, inverse = 1.0;
    if (batch) {
      mean = state.batch_mean[k];
      inverse = state.batch_inverse[k];
    } else if (norm.has_statistics) {
      mean = state.mean[k];
      inverse = 1.0 / std::sqrt(static_cast<double>(state.variance[k]) + eps);
    }
    const double of_weight = inverse * (product - mean * sum);
    if (weight.trainable) weight.gradient.data()[c] += static_cast<float>(of_weight);
    if (bias.trainable) bias.gradient.data()[c] += static_cast<float>(sum);
    const double scale = weight.values.data()[c] * inverse;
    by_gradient[k] = static_cast<float>(scale);
    if (batch) {
      by_map[k] = static_cast<float>(-scale * inverse * of_weight / count);
      // of the rounded factors, so that the gradients of a channel add up to zero as they should
      constant[k] = static_cast<float>(-(by_gradient[k] * sum / count + by_map[k] * mean));
    }
  }
  if (b.target[0].index < 0) return;
  float* to = gradient(p, b.target[0].index);
  parallel_for(p.n, [&](std::int64_t i) {
    const std::int64_t first = i * t.image();
    table().combine(g + first, x + first, t.h * t.w, t.stride, by_gradient.data(), by_map.data(),
                    constant.data(), to + first, b.target[0].accumulate);
  });
}

}  // namespace pyedge
