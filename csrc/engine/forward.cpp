// The forward pass of a micro-batch. Steps that touch one image at a time join a convolution.
#include <algorithm>
#include <cmath>
#include <utility>

#include "engine/engine.hpp"
#include "engine/kernel_terms.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

const char* kind_name(StepKind kind) {
  switch (kind) {
    case StepKind::add:
      return "add";
    case StepKind::channel_pad:
      return "channel_pad";
    case StepKind::avg_pool:
      return "avg_pool";
    case StepKind::max_pool:
      return "max_pool";
    case StepKind::global_avg_pool:
      return "global_avg_pool";
    default:
      return "copy";
  }
}

}  // namespace

float* Engine::tensor(const Plan& p, int index) {
  if (back_[at(index)]) return arena_.data() + p.back_at[at(index)];
  const std::int64_t first = p.tensor_of_all[at(index)] ? first_ : 0;
  return arena_.data() + p.tensor_at[at(index)] + first * program_.tensors[at(index)].image();
}

float* Engine::gradient(const Plan& p, int index) {
  const std::int64_t first = p.gradient_of_all[at(index)] ? first_ : 0;
  return arena_.data() + p.gradient_at[at(index)] + first * program_.tensors[at(index)].image();
}

Lens Engine::lens(const View& view, bool batch) const {
  Lens found;
  if (view.norm >= 0) {
    const NormState& n = norms_[at(view.norm)];
    const bool of_batch = batch && program_.norms[at(view.norm)].has_statistics;
    found.scale = of_batch ? n.batch_scale.data() : n.scale.data();
    found.shift = of_batch ? n.batch_shift.data() : n.shift.data();
  }
  if (view.clamp != Clamp::none) found.low = 0.0f;
  if (view.clamp == Clamp::relu6) found.high = 6.0f;
  return found;
}

ImageView Engine::image_view(const Plan& p, const View& view, std::int64_t image, bool batch) {
  const Tensor& t = program_.tensors[at(view.tensor)];
  return {tensor(p, view.tensor) + image * t.image(), t.h, t.w, t.stride, lens(view, batch)};
}

void Engine::load(const Plan& p, const ImageBatch& images) {
  const Tensor& input = program_.tensors[0];
  load_images(images, preprocessing_, input.c, input.h, input.w, input.stride, tensor(p, 0));
}

// `knowledge`: of a step whose backward pass follows.
void Engine::run_forward(const Plan& p, const ImageBatch& images, bool batch,
                         const Knowledge* knowledge, const Watched& watched) {
  back_.assign(program_.tensors.size(), false);
  timed("images", "forward", [&] { load(p, images); });
  finish_tensor(p, 0, batch, knowledge, {});
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (p.host[i].step >= 0) continue;
    const Step& step = program_.steps[i];
    const int index = static_cast<int>(i);
    Together together;
    add_guests(p, index, true, batch, knowledge, together);
    together.add_name(step_name(step));
    if (step.kind != StepKind::conv) {
      together.work.before.push_back(step_work(p, index, batch));
      finish_tensor(p, step.out, batch, knowledge, std::move(together));
      continue;
    }
    pack_forward(p, index);
    if (index == watched.step) timed("features", "forward", [&] { copy_features(p, watched); });
    float* scratch = arena_.data() + p.scratch_at[i];
    if (batch) {  // its statistics are not there before the last image is
      timed(together.name, "forward", [&] { convolve(p, index, batch, scratch, together.work); });
      finish_tensor(p, step.out, batch, knowledge, {});
      continue;
    }
    add_readers(p, step.out, batch, knowledge, together.work.after, together);
    add_guests(p, index, false, batch, knowledge, together);
    timed(together.name, "forward", [&] { convolve(p, index, batch, scratch, together.work); });
  }
}

std::string Engine::step_name(const Step& step) const {
  return step.node >= 0 ? graph_.nodes[at(step.node)].name : kind_name(step.kind);
}

// Does the work that makes a tensor, if any is left to do, and what reads it as soon as it is
// there.
void Engine::finish_tensor(const Plan& p, int index, bool batch, const Knowledge* knowledge,
                           Together together) {
  const auto run = [&] {
    if (together.work.empty()) return;
    timed(together.name, "forward", [&] { together.work.around(p.n, [] {}); });
    together = {};
  };
  if (batch) {
    run();
    gather_statistics(p, index);
  }
  add_readers(p, index, batch, knowledge, together.work.before, together);
  run();
}

// The steps that the convolution takes along, ahead of it or behind.
void Engine::add_guests(const Plan& p, int host, bool before, bool batch,
                        const Knowledge* knowledge, Together& together) {
  std::vector<ImageWork>& works = before ? together.work.before : together.work.after;
  for (std::size_t i = 0; i < program_.steps.size(); ++i) {
    if (p.host[i].step != host || p.host[i].before != before) continue;
    together.add_name(step_name(program_.steps[i]));
    works.push_back(step_work(p, static_cast<int>(i), batch));
    add_readers(p, program_.steps[i].out, batch, knowledge, works, together);
  }
}

// What reads an image of a tensor as soon as it is there, while a cache holds it: J_b's sums, and
// the copy in 16 bits.
void Engine::add_readers(const Plan& p, int index, bool batch, const Knowledge* knowledge,
                         std::vector<ImageWork>& works, Together& together) {
  if (knowledge == nullptr) return;
  for (std::size_t k = 0; k < program_.taps.size() && !knowledge->maps.empty(); ++k) {
    if (program_.taps[k].tensor != index) continue;
    const int group = static_cast<int>(k);
    together.add_name("match " + std::to_string(group));
    works.push_back(
        [this, &p, group, knowledge](std::int64_t i, int) { match(p, group, i, *knowledge); });
  }
  if (p.compact_at[at(index)] < 0) return;
  together.add_name("compact");
  works.push_back([this, &p, index, batch](std::int64_t i, int) {
    const Tensor& t = program_.tensors[at(index)];
    table().compact_map(
        {tensor(p, index) + i * t.image(), t.h, t.w, t.stride, lens(p.mask[at(index)], batch)},
        compact(p, index, i));
  });
}

CompactMap Engine::compact(const Plan& p, int index, std::int64_t image) {
  const Tensor& t = program_.tensors[at(index)];
  float* steps = arena_.data() + p.compact_at[at(index)] + (first_ + image) * compact_floats(t);
  return {reinterpret_cast<std::int16_t*>(steps + t.h * t.w), steps};
}

void Engine::pack_forward(const Plan& p, int index) {
  ConvWeights& c = convs_[at(index)];
  const Parameter& weight = parameters_[c.weight];
  if (c.forward_version == weight.version) return;
  timed(weight.name, "pack", [&] {
    if (c.forward.floats() == 0) c.forward = Buffer(p.forward[at(index)].packed_floats());
    p.forward[at(index)].pack(weight.values.data(), c.forward.data());
  });
  c.forward_version = weight.version;
}

void Engine::convolve(const Plan& p, int index, bool batch, float* scratch,
                      const PerImage& per_image) {
  const Step& step = program_.steps[at(index)];
  const Tensor& out = program_.tensors[at(step.out)];
  const ConvWeights& c = convs_[at(index)];
  Finish finish(tensor(p, step.out), out.w * out.stride, out.stride);
  if (c.bias >= 0) finish.bias = parameters_[c.bias].values.data();
  if (step.residual.tensor >= 0) {
    finish.residual = tensor(p, step.residual.tensor);
    finish.residual_lens = lens(step.residual, batch);
  }
  p.forward[at(index)].run(tensor(p, step.in[0].tensor), lens(step.in[0], batch), c.forward.data(),
                           finish, scratch, per_image);
}

// What the linear step is about to read: its input lives no longer than the step. Behind a lens it
// is made in the step's own scratch memory, which has room for many images a worker.
void Engine::copy_features(const Plan& p, const Watched& watched) {
  const View& view = program_.steps[at(watched.step)].in[0];
  const Tensor& t = program_.tensors[at(view.tensor)];
  const std::int64_t pixels = t.h * t.w, count = pixels * t.c;
  float* scratch = arena_.data() + p.scratch_at[at(watched.step)];
  parallel_for_workers(p.n, [&](std::int64_t i, int worker) {
    const ImageView image = image_view(p, view, i, false);
    const float* from = image.data;
    if (!image.lens.plain()) {
      float* seen = scratch + worker * t.image();
      table().copy_region({from, t.h, t.w, t.stride, 0, 0, t.h, t.w, image.lens, seen});
      from = seen;
    }
    float* to = watched.features + (first_ + i) * count;
    if (pixels == 1) {
      std::copy_n(from, t.c, to);
      return;
    }
    for (std::int64_t c = 0; c < t.c; ++c) {
      for (std::int64_t y = 0; y < pixels; ++y) to[c * pixels + y] = from[y * t.stride + c];
    }
  });
}

// Of a step that is no convolution.
ImageWork Engine::step_work(const Plan& p, int index, bool batch) {
  return [this, &p, index, batch](std::int64_t i, int worker) {
    const Step& step = program_.steps[at(index)];
    const Tensor& out = program_.tensors[at(step.out)];
    const ImageView from = image_view(p, step.in[0], i, batch);
    float* image = tensor(p, step.out) + i * out.image();
    switch (step.kind) {
      case StepKind::add:
        return table().add_views(from, image_view(p, step.in[1], i, batch), image);
      case StepKind::channel_pad:
        return table().pad_channels(
            from, places(index), image, out.stride,
            arena_.data() + p.scratch_at[at(index)] + worker * (from.stride + 16));
      case StepKind::avg_pool:
        return table().average_pool(from, pool_window(graph_.nodes[at(step.node)], out), image);
      case StepKind::max_pool:
        return table().max_pool(from, pool_window(graph_.nodes[at(step.node)], out), image);
      case StepKind::global_avg_pool:
        return table().global_average(from, image);
      default:
        return table().copy_region(
            {from.data, from.h, from.w, from.stride, 0, 0, from.h, from.w, from.lens, image});
    }
  };
}

// The mean and variance of each channel over the batch, for the norms that read this tensor.
void Engine::gather_statistics(const Plan& p, int index) {
  const bool wanted = std::any_of(program_.norms.begin(), program_.norms.end(), [&](const Norm& n) {
    return n.tensor == index && n.has_statistics;
  });
  if (!wanted) return;
  const Tensor& t = program_.tensors[at(index)];
  const float* x = tensor(p, index);
  // 64-byte aligned floats serve as float64 too
  const int step = std::max(t.producer, 0);
  auto* sums = reinterpret_cast<double*>(arena_.data() + p.scratch_at[at(step)]);
  timed("statistics", "forward", [&] {
    parallel_for(p.n, [&](std::int64_t i) {
      const float* image = x + i * t.image();
      table().channel_sums(image, image, t.h * t.w, t.stride, sums + i * 2 * t.stride);
    });
  });
  const double count = static_cast<double>(p.n * t.h * t.w);
  std::vector<double> mean(static_cast<std::size_t>(t.c)), variance(mean.size());
  for (std::int64_t i = 0; i < p.n; ++i) {
    for (std::int64_t c = 0; c < t.c; ++c) {
      mean[static_cast<std::size_t>(c)] += sums[i * 2 * t.stride + c];
      variance[static_cast<std::size_t>(c)] += sums[(2 * i + 1) * t.stride + c];
    }
  }
  for (std::size_t c = 0; c < mean.size(); ++c) {
    mean[c] /= count;
    variance[c] = std::max(variance[c] / count - mean[c] * mean[c], 0.0);
  }
  for (std::size_t k = 0; k < norms_.size(); ++k) {
    const Norm& norm = program_.norms[k];
    if (norm.tensor != index || !norm.has_statistics) continue;
    NormState& n = norms_[k];
    if (n.batch_scale.floats() == 0) {
      n.batch_scale = Buffer(t.stride);
      n.batch_shift = Buffer(t.stride);
    }
    n.batch_mean = mean;
    n.batch_inverse.resize(mean.size());
    n.next_mean = n.mean;
    n.next_variance = n.variance;
    const float *weight = parameters_[n.weight].values.data(),
                *bias = parameters_[n.bias].values.data();
    const double eps = graph_.nodes[at(norm.node)].eps;
    const double unbiased = count > 1.0 ? count / (count - 1.0) : 1.0;
    for (std::size_t c = 0; c < mean.size(); ++c) {
      n.batch_inverse[c] = 1.0 / std::sqrt(variance[c] + eps);
      const double scale = weight[c] * n.batch_inverse[c];
      n.batch_scale.data()[c] = static_cast<float>(scale);
      n.batch_shift.data()[c] = static_cast<float>(bias[c] - mean[c] * scale);
      constexpr double momentum = 0.1;  // torch's
      n.next_mean[c] = static_cast<float>((1.0 - momentum) * n.mean[c] + momentum * mean[c]);
      n.next_variance[c] =
          static_cast<float>((1.0 - momentum) * n.variance[c] + momentum * variance[c] * unbiased);
    }
  }
}

}  // namespace pyedge
