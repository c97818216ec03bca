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
  const Plan& p = plan(images.n, true);
  run_forward(p, images, batch_statistics_);
  StepResult result;
  const Tensor& out = program_.tensors[at(program_.output.tensor)];
  const float* logits = tensor(p, program_.output.tensor);
  float* slope = arena_.data() + p.gradient_at[at(program_.output.tensor)];
  std::fill_n(slope, p.n * out.stride, 0.0f);
  const double* lambdas = knowledge.lambdas;
  if (knowledge.logits != nullptr) {
    result.j1 =
        logits_distance(logits, knowledge.logits, p.n, out.c, out.stride, lambdas[0], slope);
  }
  if (knowledge.labels != nullptr) {
    result.j3 = cross_entropy(logits, knowledge.labels, p.n, out.c, out.stride, lambdas[2], slope);
  }
  std::vector<GroupMatch> matches;
  if (!knowledge.maps.empty()) {
    for (int group = 0; group < static_cast<int>(program_.taps.size()); ++group) {
      timed("match " + std::to_string(group), "loss",
            [&] { matches.push_back(match(p, group, knowledge)); });
      result.jb += matches.back().distance;
      result.pairs.push_back(matches.back().best);
    }
  }
  result.loss = lambdas[0] * result.j1 + lambdas[1] * result.jb + lambdas[2] * result.j3;
  if (!std::isfinite(result.loss)) {
    throw std::invalid_argument("step: the loss is not finite; nothing was changed");
  }
  run_backward(p, knowledge, matches);
  timed("gradient norm", "backward", [&] { gradient_norm_ = parameters_.gradient_norm(); });
  result.gradient_norm = gradient_norm_;
  if (!std::isfinite(gradient_norm_)) {
    throw std::invalid_argument("step: a gradient is not finite; nothing was changed");
  }
  gradients_ready_ = true;
  return result;
}

GroupMatch Engine::match(const Plan& p, int group, const Knowledge& knowledge) {
  const View& tap = program_.taps[at(group)];
  const Tensor& t = program_.tensors[at(tap.tensor)];
  const std::vector<TeacherMaps>& blocks = knowledge.maps[at(group)];
  const auto count = static_cast<std::int64_t>(blocks.size());
  std::vector<double> dots(static_cast<std::size_t>(count * p.n));
  std::vector<double> squares(static_cast<std::size_t>(p.n));
  const std::int64_t size = t.h * t.w * t.c;
  parallel_for(p.n, [&](std::int64_t i) {
    std::vector<TeacherMap> maps;
    for (const TeacherMaps& block : blocks) {
      maps.push_back(teacher_map(block, knowledge.map_rows[i], size));
    }
    std::vector<double> found(maps.size());
    table().map_sums(image_view(p, tap, i, batch_statistics_), maps.data(), count, t.c,
                     found.data(), &squares[static_cast<std::size_t>(i)]);
    for (std::int64_t k = 0; k < count; ++k) {
      dots[static_cast<std::size_t>(k * p.n + i)] = found[static_cast<std::size_t>(k)];
    }
  });
  return match_group(dots, squares, knowledge.norms[at(group)], count, p.n,
                     knowledge.norms_by_image);
}

void Engine::run_backward(const Plan& p, const Knowledge& knowledge,
                          const std::vector<GroupMatch>& matches) {
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
  for (const BackwardStep& b : p.backward) {
    if (b.kind == BackwardKind::tap) {
      timed("match " + std::to_string(b.index), "backward", [&] {
        match_gradient(p, b, knowledge, matches.empty() ? GroupMatch{} : matches[at(b.index)]);
      });
    } else if (b.kind == BackwardKind::norm) {
      timed(graph_.nodes[at(program_.norms[at(b.index)].node)].name, "backward",
            [&] { backward_norm(p, b); });
    } else {
      backward_step(p, b);
    }
  }
}

// Where a gradient of the view's values goes, for the first image. False: nobody wants it.
bool Engine::finish_for(const Plan& p, const Target& target, const View& view, Finish& finish) {
  if (target.index < 0) return false;
  const Tensor& t = program_.tensors[at(view.tensor)];
  const std::int64_t to =
      target.norm ? p.norm_gradient_at[at(target.index)] : p.gradient_at[at(target.index)];
  finish = Finish(arena_.data() + to, t.w * t.stride, t.stride);
  finish.accumulate = target.accumulate;
  if (!view.plain()) {
    finish.lens = lens(view, batch_statistics_);
    if (!target.norm) finish.gain = finish.lens.scale;
    finish.base = tensor(p, view.tensor);
  }
  if (!target.norm && !target.accumulate && p.in_place[at(view.tensor)]) {
    for (std::size_t i = 0; i < program_.taps.size(); ++i) {
      if (program_.taps[i].tensor != view.tensor || by_student_[i].empty()) continue;
      finish.betas = by_student_[i].data();  // the values' own share of J_b's gradient
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
    const auto k = static_cast<std::size_t>(i);
    table().map_gradient(image_view(p, tap, i, batch_statistics_),
                         teacher_map(block, knowledge.map_rows[i], t.h * t.w * t.c), t.c,
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
  const float* gradient = arena_.data() + p.gradient_at[at(step.out)];
  switch (step.kind) {
    case StepKind::conv:
      return backward_conv(p, b);
    case StepKind::add:
      return timed("add", "backward", [&] {
        deliver(p, b.target[0], step.in[0], gradient);
        deliver(p, b.target[1], step.in[1], gradient);
      });
    case StepKind::copy:
      return timed("copy", "backward", [&] { deliver(p, b.target[0], step.in[0], gradient); });
    default:
      return timed(graph_.nodes[at(step.node)].name, "backward", [&] { backward_pool(p, b); });
  }
}

void Engine::backward_conv(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const std::string& name = graph_.nodes[at(step.node)].name;
  ConvWeights& c = convs_[at(b.index)];
  const float* gradient = arena_.data() + p.gradient_at[at(step.out)];
  float* scratch = arena_.data() + p.scratch_at;
  if (b.again >= 0) {
    repeated_[at(program_.steps[at(b.again)].out)] = true;
    timed(graph_.nodes[at(program_.steps[at(b.again)].node)].name, "forward again",
          [&] { forward_step(p, b.again, batch_statistics_); });
  }
  if (b.weights) {
    Parameter& weight = parameters_[c.weight];
    timed(name, "weight gradient", [&] {
      p.weight_gradient[at(b.index)].run(tensor(p, step.in[0].tensor),
                                         lens(step.in[0], batch_statistics_), gradient,
                                         weight.gradient.data(), scratch);
      weight.layout.clear_outside_groups(weight.gradient.data());
      if (c.bias >= 0) bias_gradient(p, b.index);
    });
  }
  Finish finish;
  if (finish_for(p, b.target[0], step.in[0], finish)) {
    pack_backward(p, b.index);
    timed(name, "input gradient",
          [&] { p.input_gradient[at(b.index)].run(gradient, c.backward.data(), finish, scratch); });
  }
  if (!b.alias) {
    timed("residual", "backward", [&] { deliver(p, b.target[1], step.residual, gradient); });
  }
}

void Engine::pack_backward(const Plan& p, int index) {
  ConvWeights& c = convs_[at(index)];
  const Parameter& weight = parameters_[c.weight];
  if (c.backward_version == weight.version) return;
  timed(weight.name, "pack", [&] {
    const ConvInputGradient& how = p.input_gradient[at(index)];
    if (c.backward.floats() == 0) c.backward = Buffer(how.packed_floats());
    how.pack(weight.values.data(), c.backward.data(), arena_.data() + p.scratch_at);
  });
  c.backward_version = weight.version;
}

void Engine::bias_gradient(const Plan& p, int index) {
  const Tensor& t = program_.tensors[at(program_.steps[at(index)].out)];
  const float* gradient = arena_.data() + p.gradient_at[at(program_.steps[at(index)].out)];
  auto* sums = reinterpret_cast<double*>(arena_.data() + p.scratch_at);
  parallel_for(p.n, [&](std::int64_t i) {
    const float* image = gradient + i * t.image();
    table().channel_sums(image, image, t.h * t.w, t.stride, sums + i * 2 * t.stride);
  });
  float* to = parameters_[convs_[at(index)].bias].gradient.data();
  for (std::int64_t c = 0; c < t.c; ++c) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < p.n; ++i) sum += sums[i * 2 * t.stride + c];
    to[c] = static_cast<float>(sum);
  }
}

void Engine::backward_pool(const Plan& p, const BackwardStep& b) {
  const Step& step = program_.steps[at(b.index)];
  const View& view = step.in[0];
  Finish finish;
  if (!finish_for(p, b.target[0], view, finish)) return;
  const Node& node = graph_.nodes[at(step.node)];
  const Tensor &in = program_.tensors[at(view.tensor)], &out = program_.tensors[at(step.out)];
  const float* gradient = arena_.data() + p.gradient_at[at(step.out)];
  float* scratch = arena_.data() + p.scratch_at;
  const std::int64_t worker_floats = (in.image() + 31) / 16 * 16;
  parallel_for_workers(p.n, [&](std::int64_t i, int worker) {
    const float* from = gradient + i * out.image();
    const Finish put = finish.at(i * in.image());
    if (step.kind == StepKind::global_avg_pool) {
      return table().spread_average(from, in.h, in.w, put);
    }
    const PoolWindow window = pool_window(node, out);
    if (step.kind == StepKind::avg_pool && tiles(window, in)) {
      return table().average_tiles_backward(from, window, put);
    }
    const ImageView image = image_view(p, view, i, batch_statistics_);
    float* values = scratch + worker * worker_floats;
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
  auto* sums = reinterpret_cast<double*>(arena_.data() + p.scratch_at);
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
    if (weight.trainable) weight.gradient.data()[c] = static_cast<float>(of_weight);
    if (bias.trainable) bias.gradient.data()[c] = static_cast<float>(sum);
    const double scale = weight.values.data()[c] * inverse;
    by_gradient[k] = static_cast<float>(scale);
    if (batch) {
      by_map[k] = static_cast<float>(-scale * inverse * of_weight / count);
      constant[k] = static_cast<float>(scale * (mean * inverse * of_weight - sum) / count);
    }
  }
  if (b.target[0].index < 0) return;
  float* to = arena_.data() + p.gradient_at[at(b.target[0].index)];
  parallel_for(p.n, [&](std::int64_t i) {
    const std::int64_t first = i * t.image();
    table().combine(g + first, x + first, t.h * t.w, t.stride, by_gradient.data(), by_map.data(),
                    constant.data(), to + first, b.target[0].accumulate);
  });
}

}  // namespace pyedge
