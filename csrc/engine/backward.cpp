// The masked backward pass: gradients exist only where something trainable needs them.
#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/engine.hpp"
#include "engine/kernel_terms.hpp"
#include "kernels/thread_pool.hpp"

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
    run_forward(p, part_of(images, first, p.n), batch_statistics_, &knowledge);
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
    matches.push_back(match_group(sums_[i], knowledge.norms[i],
                                  static_cast<std::int64_t>(knowledge.maps[i].size()), images.n,
                                  knowledge.norms_by_image));
    result.jb += matches.back().distance;
    result.pairs.push_back(matches.back().best);
  }
  result.loss = lambdas[0] * result.j1 + lambdas[1] * result.jb + lambdas[2] * result.j3;
  if (!std::isfinite(result.loss)) {
    throw std::invalid_argument("step: the loss is not finite; nothing was changed");
  }
  begin_backward(knowledge, matches);
  batch.for_each([&](const Plan& p, std::int64_t first) {
    first_ = first;
    run_backward(p, part_of(images, first, p.n), knowledge, matches);
  });
  timed("gradient norm", "backward", [&] { gradient_norm_ = parameters_.gradient_norm(); });
  result.gradient_norm = gradient_norm_;
  if (!std::isfinite(gradient_norm_)) {
    throw std::invalid_argument("step: a gradient is not finite; nothing was changed");
  }
  gradients_ready_ = true;
  return result;
}

// One image of the micro-batch.
void Engine::match(const Plan& p, int group, std::int64_t i, const Knowledge& knowledge) {
  const View& tap = program_.taps[at(group)];
  const Tensor& t = program_.tensors[at(tap.tensor)];
  const auto image = static_cast<std::size_t>(first_ + i);
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
  for (const BackwardStep& b : p.backward) {
    scratch_ = arena_.data() + b.scratch_at;
    switch (b.kind) {
      case BackwardKind::tap:
        timed("match " + std::to_string(b.index), "backward", [&] {
          match_gradient(p, b, knowledge, matches.empty() ? GroupMatch{} : matches[at(b.index)]);
        });
        break;
      case BackwardKind::norm:
        timed(graph_.nodes[at(program_.norms[at(b.index)].node)].name, "backward",
              [&] { backward_norm(p, b); });
        break;
      case BackwardKind::step:
        backward_step(p, b);
        break;
      default:
        bring_back(p, b, images);
    }
  }
}

void Engine::bring_back(const Plan& p, const BackwardStep& b, const ImageBatch& images) {
  if (b.kind == BackwardKind::images) {
    back_[0] = true;
    return timed("images", "forward again", [&] { load(p, images); });
  }
  if (b.kind == BackwardKind::repeat) {
    const Step& step = program_.steps[at(b.index)];
    back_[at(step.out)] = true;
    return timed(graph_.nodes[at(step.node)].name, "forward again",
                 [&] { forward_step(p, b.index, batch_statistics_, {}); });
  }
  const Tensor& t = program_.tensors[at(b.index)];
  back_[at(b.index)] = true;
  timed("restore", "backward", [&] {
    parallel_for(p.n, [&](std::int64_t i) {
      table().restore_map(compact(p, b.index, i), t.h * t.w, t.stride,
                          tensor(p, b.index) + i * t.image());
    });
  });
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

void Engine::match_gradient(const Plan& p, const BackwardStep& b, const Knowledge& knowledge,
                            const GroupMatch& match) {
  const View& tap = program_.taps[at(b.index)];
  const Tensor& t = program_.tensors[at(tap.tensor)];
  Finish finish;
  if (!finish_for(p, b.target[0], tap, finish)) return;
  if (knowledge.maps.empty()) {  // later contributions add to it
    if (!finish.accumulate) std::fill_n(finish.out, p.n * t.image(), 0.0f);
    return;
  }
  const TeacherMaps& block = knowledge.maps[at(b.index)][at(match.best)];
  const auto weight = static_cast<float>(knowledge.lambdas[1]);
  // where the gradient lies over the values, their share is in it already
  const bool counted = p.in_place[at(tap.tensor)];
  finish.betas = nullptr;
  parallel_for(p.n, [&](std::int64_t i) {
    const auto k = static_cast<std::size_t>(first_ + i);
    table().map_gradient(image_view(p, tap, i, batch_statistics_),
                         teacher_map(block, knowledge.map_rows[k], t.h * t.w * t.c), t.c,
                         weight * match.by_teacher[k], counted ? 0.0f : by_student_[at(b.index)][k],
                         finish.at(i * t.image()));
  });
}

// gradient [n, like the view] -> target
void Engine::deliver(const Plan& p, const Target& target, const View& view, const float* gradient) {
  Finish finish;
  if (!finish_for(p, target, view, finish)) return;
  const Tensor& t = program_.tensors[at(view.tensor)];
  parallel_for(p.n, [&](std::int64_t i) {
    table().finish_region(finish.at(i * t.image()), gradient + i * t.image(), t.h, t.w,
                          {0, 0, 1, 1});
  });
}

void Engine::backward_step(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const float* slope = gradient(p, step.out);
  switch (step.kind) {
    case StepKind::conv:
      return backward_conv(p, b);
    case StepKind::add:
      return timed("add", "backward", [&] {
        deliver(p, b.target[0], step.in[0], slope);
        deliver(p, b.target[1], step.in[1], slope);
      });
    case StepKind::copy:
      return timed("copy", "backward", [&] { deliver(p, b.target[0], step.in[0], slope); });
    default:
      return timed(graph_.nodes[at(step.node)].name, "backward", [&] { backward_pool(p, b); });
  }
}

void Engine::backward_conv(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const std::string& name = graph_.nodes[at(step.node)].name;
  ConvWeights& c = convs_[at(b.index)];
  const float* slope = gradient(p, step.out);
  if (b.weights) {
    Parameter& weight = parameters_[c.weight];
    timed(name, "weight gradient", [&] {
      p.weight_gradient[at(b.index)].run(tensor(p, step.in[0].tensor),
                                         lens(step.in[0], batch_statistics_), slope,
                                         weight.gradient.data(), scratch_);
      weight.layout.clear_outside_groups(weight.gradient.data());
      if (c.bias >= 0) bias_gradient(p, b.index);
    });
  }
  Finish finish;
  if (finish_for(p, b.target[0], step.in[0], finish)) {
    pack_backward(p, b.index);
    timed(name, "input gradient",
          [&] { p.input_gradient[at(b.index)].run(slope, c.backward.data(), finish, scratch_); });
  }
  if (!b.alias) {
    timed("residual", "backward", [&] { deliver(p, b.target[1], step.residual, slope); });
  }
}

void Engine::pack_backward(const Plan& p, int index) {
  ConvWeights& c = convs_[at(index)];
  const Parameter& weight = parameters_[c.weight];
  if (c.backward_version == weight.version) return;
  timed(weight.name, "pack", [&] {
    const ConvInputGradient& how = p.input_gradient[at(index)];
    if (c.backward.floats() == 0) c.backward = Buffer(how.packed_floats());
    how.pack(weight.values.data(), c.backward.data(), scratch_);
  });
  c.backward_version = weight.version;
}

void Engine::bias_gradient(const Plan& p, int index) {
  const Tensor& t = program_.tensors[at(program_.steps[at(index)].out)];
  const float* slope = gradient(p, program_.steps[at(index)].out);
  auto* sums = reinterpret_cast<double*>(scratch_);
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

void Engine::backward_pool(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const View& view = step.in[0];
  Finish finish;
  if (!finish_for(p, b.target[0], view, finish)) return;
  const Node& node = graph_.nodes[at(step.node)];
  const Tensor &in = program_.tensors[at(view.tensor)], &out = program_.tensors[at(step.out)];
  const float* slope = gradient(p, step.out);
  const std::int64_t worker_floats = (in.image() + 31) / 16 * 16;
  parallel_for_workers(p.n, [&](std::int64_t i, int worker) {
    const float* from = slope + i * out.image();
    const Finish put = finish.at(i * in.image());
    if (step.kind == StepKind::global_avg_pool) {
      return table().spread_average(from, in.h, in.w, put);
    }
    const PoolWindow window = pool_window(node, out);
    if (step.kind == StepKind::avg_pool && tiles(window, in)) {
      return table().average_tiles_backward(from, window, put);
    }
    const ImageView image = image_view(p, view, i, batch_statistics_);
    float* values = scratch_ + worker * worker_floats;
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
  });
}

// From the gradient of a norm's result to those of its weight and bias, and of its tensor.
void Engine::backward_norm(const Plan& p, const BackwardStep& b) {
  const Norm& norm = program_.norms[at(b.index)];
  NormState& state = norms_[at(b.index)];
  const Tensor& t = program_.tensors[at(norm.tensor)];
  const float* g = arena_.data() + p.norm_gradient_at[at(b.index)];
  const float* x = tensor(p, norm.tensor);
  auto* sums = reinterpret_cast<double*>(scratch_);
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
      constant[k] = static_cast<float>(scale * (mean * inverse * of_weight - sum) / count);
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
