// Convolution's input gradient: a convolution of the output's gradient with the weights turned
// round. With a stride it falls apart into phases, one for each residue of the input's pixels, each
// with the taps that reach it: no zeros are multiplied.
#include <algorithm>

#include "kernels/conv/conv2d.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

ConvShape mirrored(const ConvShape& s) {
  ConvShape m = s;
  m.c_in = s.c_out, m.h = s.out_h, m.w = s.out_w, m.in_stride = s.out_stride;
  m.c_out = s.c_in, m.out_h = s.h, m.out_w = s.w, m.out_stride = s.in_stride;
  m.padding_h = s.kernel_h - 1 - s.padding_h;
  m.padding_w = s.kernel_w - 1 - s.padding_w;
  return m;
}

// The output row that tap `k` of input row `at` comes from; false if none does.
bool source(std::int64_t at, std::int64_t padding, std::int64_t k, std::int64_t dilation,
            std::int64_t stride, std::int64_t& offset) {
  const std::int64_t value = at + padding - k * dilation;
  if (value % stride != 0) return false;
  offset = value / stride;
  return true;
}

}  // namespace

ConvInputGradient::ConvInputGradient(const ConvShape& shape, const KernelTable& table, int workers,
                                     const HalfKernels* half)
    : s_(shape),
      table_(&table),
      half_(shape.groups == 1 ? half : nullptr),
      pixel_(half_ != nullptr ? (shape.out_stride + 1) / 2 : shape.out_stride) {
  const ConvShape m = mirrored(s_);
  panels_ = ChannelPanels(m, table, half_);
  winograd_ = winograd_pays(s_, panels_.products()) && winograd_pays(m, panels_.products());
  as_forward_ = winograd_ || s_.pointwise();
  if (as_forward_) {
    mirrored_ = ConvForward(m, table, workers, half_);
    winograd_ = mirrored_.winograd();
    scratch_floats_ = mirrored_.scratch_floats();
    return;
  }
  std::int64_t bottom = 0, right = 0, most_rows = 0, most_columns = 0;
  for (std::int64_t py = 0; py < std::min(s_.stride_h, s_.h); ++py) {
    for (std::int64_t px = 0; px < std::min(s_.stride_w, s_.w); ++px) {
      Phase phase;
      phase.top = py;
      phase.left = px;
      phase.rows = (s_.h - py + s_.stride_h - 1) / s_.stride_h;
      phase.columns = (s_.w - px + s_.stride_w - 1) / s_.stride_w;
      most_rows = std::max(most_rows, phase.rows);
      most_columns = std::max(most_columns, phase.columns);
      phases_.push_back(phase);
    }
  }
  for (const Phase& phase : phases_) {
    for (std::int64_t k = 0, offset; k < s_.kernel_h; ++k) {
      if (!source(phase.top, s_.padding_h, k, s_.dilation_h, s_.stride_h, offset)) continue;
      top_ = std::min(top_, offset);
      bottom = std::max(bottom, offset);
    }
    for (std::int64_t k = 0, offset; k < s_.kernel_w; ++k) {
      if (!source(phase.left, s_.padding_w, k, s_.dilation_w, s_.stride_w, offset)) continue;
      left_ = std::min(left_, offset);
      right = std::max(right, offset);
    }
  }
  region_columns_ = most_columns + right - left_;
  const std::int64_t line = region_columns_ * pixel_;
  band_ = std::clamp<std::int64_t>(region_floats / std::max<std::int64_t>(line, 1), 1, most_rows);
  region_rows_ = band_ + bottom - top_;
  for (Phase& phase : phases_) {
    for (std::int64_t y = 0, from_y; y < s_.kernel_h; ++y) {
      if (!source(phase.top, s_.padding_h, y, s_.dilation_h, s_.stride_h, from_y)) continue;
      for (std::int64_t x = 0, from_x; x < s_.kernel_w; ++x) {
        if (!source(phase.left, s_.padding_w, x, s_.dilation_w, s_.stride_w, from_x)) continue;
        phase.taps.push_back(y * s_.kernel_w + x);
        phase.offsets.push_back((from_y - top_) * line + (from_x - left_) * pixel_);
      }
    }
  }
  worker_floats_ = region_rows_ * line + band_ * most_columns * s_.in_stride;
  worker_floats_ = (worker_floats_ + 31) / 16 * 16;
  scratch_floats_ = worker_floats_ * workers;
}

std::int64_t ConvInputGradient::packed_floats() const {
  return as_forward_ ? mirrored_.packed_floats() : s_.taps() * panels_.floats();
}

std::int64_t ConvInputGradient::pack_scratch_floats() const {
  return turned_floats() + (as_forward_ ? mirrored_.pack_scratch_floats() : 0);
}

void ConvInputGradient::pack(const float* weights, float* packed, float* scratch) const {
  // turned: [tap, c_out / groups, in_stride], for Winograd and matrix products with the taps
  // reversed
  const std::int64_t in_group = s_.in_group(), out_group = s_.c_out / s_.groups;
  const std::int64_t matrix = out_group * s_.in_stride;
  for (std::int64_t tap = 0; tap < s_.taps(); ++tap) {
    float* turned = scratch + (as_forward_ ? s_.taps() - 1 - tap : tap) * matrix;
    const float* from = weights + tap * in_group * s_.out_stride;
    for (std::int64_t o = 0; o < out_group; ++o, turned += s_.in_stride) {
      for (std::int64_t group = 0; group < s_.groups; ++group) {
        for (std::int64_t i = 0; i < in_group; ++i) {
          turned[group * in_group + i] = from[i * s_.out_stride + group * out_group + o];
        }
      }
      std::fill(turned + s_.c_in, turned + s_.in_stride, 0.0f);
    }
  }
  if (as_forward_) return mirrored_.pack(scratch, packed, scratch + turned_floats());
  for (const Phase& phase : phases_) {
    for (const ChannelPanel& panel : panels_.all()) {
      for (const std::int64_t tap : phase.taps) {
        panels_.expand(panel, scratch + tap * matrix, packed);
        packed += panel.k * panel.width;
      }
    }
  }
}

void ConvInputGradient::run(const float* gradient, const float* packed, const Finish& finish,
                            float* scratch, const PerImage& per_image) const {
  if (as_forward_) return mirrored_.run(gradient, {}, packed, finish, scratch, per_image);
  std::int64_t most_rows = 0;
  for (const Phase& phase : phases_) most_rows = std::max(most_rows, phase.rows);
  per_image.around_bands(s_.n, (most_rows + band_ - 1) / band_,
                         [&](std::int64_t image, std::int64_t band, int worker) {
                           run_band(gradient, packed, finish, image, band * band_,
                                    scratch + worker * worker_floats_);
                         });
}

// Rows of every phase from `first` on; region: scratch memory of one worker's.
void ConvInputGradient::run_band(const float* gradient, const float* packed, const Finish& finish,
                                 std::int64_t image, std::int64_t first, float* region) const {
  const std::int64_t line = region_columns_ * pixel_;
  float* values = region + region_rows_ * line;
  const auto copy = half_ != nullptr ? half_->copy_region : table_->copy_region;
  copy({gradient + image * s_.out_image(),
        s_.out_h,
        s_.out_w,
        s_.out_stride,
        first + top_,
        left_,
        region_rows_,
        region_columns_,
        {},
        region});
  const Finish put = finish.at(image * s_.in_image());
  const float* weights = packed;
  for (const Phase& phase : phases_) {
    const auto taps = static_cast<std::int64_t>(phase.taps.size());
    const std::int64_t rows = std::min(band_, phase.rows - first);
    if (rows > 0) {
      PixelGemm g{};
      g.a = region, g.b = weights, g.c = values, g.tap_offsets = phase.offsets.data();
      g.lines = rows, g.a_line = line, g.c_line = phase.columns * s_.in_stride;
      g.rows = phase.columns, g.a_step = pixel_, g.c_step = s_.in_stride;
      g.taps = taps;
      panels_.multiply(g);
      table_->finish_region(
          put, values, rows, phase.columns,
          {phase.top + first * s_.stride_h, phase.left, s_.stride_h, s_.stride_w});
    }
    weights += taps * panels_.floats();
  }
}

}  // namespace pyedge
