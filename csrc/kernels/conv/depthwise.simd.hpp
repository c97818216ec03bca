// Depthwise convolution and its two gradients. What moves is memory: nine multiplications a number.
#pragma once

#include <cstdint>

#include "kernels/conv/depthwise.hpp"

namespace {

// One vector of channels of `width` outputs of a row, which share the weights.
template <int width, typename Put>
inline void depthwise_outputs(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                              std::int64_t y, std::int64_t at, const float* weights,
                              const Put& put) {
  const std::int64_t step = d.stride_w * d.stride;
  Vec::Float sums[width];
  for (int i = 0; i < width; ++i) sums[i] = Vec::zero();
  for (std::int64_t ky = 0; ky < d.kernel_h; ++ky) {
    const float* x = band.row(y * d.stride_h + ky * d.dilation_h) + at;
    for (std::int64_t kx = 0; kx < d.kernel_w; ++kx, x += d.dilation_w * d.stride) {
      const Vec::Float weight = Vec::load(weights);
      weights += d.weight_step;
      for (int i = 0; i < width; ++i) sums[i] = Vec::fma(Vec::load(x + i * step), weight, sums[i]);
    }
  }
  for (int i = 0; i < width; ++i) put(sums[i], i);
}

// The same of a 3x3 window without dilation and a step of one pixel: neighbours share what they
// see, and a number is loaded once a row of the window, not three times.
template <int width, typename Put>
inline void depthwise_outputs_of_nine(const float* const (&rows)[3], std::int64_t stride,
                                      const float* weights, std::int64_t weight_step,
                                      const Put& put) {
  Vec::Float sums[width];
#pragma GCC unroll 4
  for (int i = 0; i < width; ++i) sums[i] = Vec::zero();
#pragma GCC unroll 1
  for (int ky = 0; ky < 3; ++ky) {
    const float* from = rows[ky];
    const Vec::Float left = Vec::load(weights), middle = Vec::load(weights + weight_step),
                     right = Vec::load(weights + 2 * weight_step);
    weights += 3 * weight_step;
    Vec::Float x[width + 2];
#pragma GCC unroll 8
    for (int i = 0; i < width + 2; ++i) x[i] = Vec::load(from + i * stride);
#pragma GCC unroll 4
    for (int i = 0; i < width; ++i) sums[i] = Vec::fma(x[i], left, sums[i]);
#pragma GCC unroll 4
    for (int i = 0; i < width; ++i) sums[i] = Vec::fma(x[i + 1], middle, sums[i]);
#pragma GCC unroll 4
    for (int i = 0; i < width; ++i) sums[i] = Vec::fma(x[i + 2], right, sums[i]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < width; ++i) put(sums[i], i);
}

// The same, `step` pixels a time: a patch of `height` times `width` outputs shares what it sees,
// and the nine weights stay in registers. rows: of the input.
template <int step, int height, int width, typename Put>
[[gnu::always_inline]] inline void depthwise_patch(
    const float* const (&rows)[(height - 1) * step + 3], std::int64_t c, std::int64_t stride,
    const float* weights, std::int64_t weight_step, const Put& put) {
  constexpr int columns = (width - 1) * step + 3;
  Vec::Float weight[9], sums[height][width];
#pragma GCC unroll 4
  for (int i = 0; i < height; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < width; ++j) sums[i][j] = Vec::zero();
  }
#pragma GCC unroll 6
  for (int r = 0; r < (height - 1) * step + 3; ++r) {
    if (r < 3) {
#pragma GCC unroll 3
      for (int k = 3 * r; k < 3 * r + 3; ++k) weight[k] = Vec::load(weights + k * weight_step + c);
    }
    Vec::Float x[columns];
#pragma GCC unroll 9
    for (int j = 0; j < columns; ++j) x[j] = Vec::load(rows[r] + j * stride + c);
#pragma GCC unroll 4
    for (int i = 0; i < height; ++i) {
      const int ky = r - i * step;
      if (ky < 0 || ky > 2) continue;
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) {
#pragma GCC unroll 4
        for (int j = 0; j < width; ++j) {
          sums[i][j] = Vec::fma(x[j * step + kx], weight[3 * ky + kx], sums[i][j]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < height; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < width; ++j) put(sums[i][j], i, j);
  }
}

// `height` rows of `width` outputs, all of their channels: memory is written in its order.
template <int step, int height, int width, typename Put>
inline void depthwise_patches(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                              std::int64_t y, std::int64_t x, const Put& put) {
  constexpr int seen = (height - 1) * step + 3;
  const float* rows[seen];
  for (int r = 0; r < seen; ++r) rows[r] = band.row(y * step + r) + x * step * d.stride;
  constexpr int lines = height * width * step;
  const float* next = band.next;
  if (next != nullptr) next += y * band.next_row + x * height * step * d.stride;
  for (std::int64_t c = 0; c < d.stride; c += Vec::lanes) {
    depthwise_patch<step, height, width>(
        rows, c, d.stride, d.weights, d.weight_step,
        [&](Vec::Float sum, int i, int j) { put(sum, y + i, x + j, c); });
    if (next == nullptr) continue;
#pragma GCC unroll 16
    for (int i = 0; i < lines; ++i) __builtin_prefetch(next + i * Vec::lanes, 0, 2);
    next += lines * Vec::lanes;
  }
}

// The columns of `height` rows, four at a time, then the rest together.
template <int step, int height, typename Put>
inline void depthwise_rows(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                           std::int64_t y, const Put& put) {
  std::int64_t x = 0;
  for (; x + 4 <= band.columns; x += 4) depthwise_patches<step, height, 4>(band, d, y, x, put);
  switch (band.columns - x) {
    case 3:
      return depthwise_patches<step, height, 3>(band, d, y, x, put);
    case 2:
      return depthwise_patches<step, height, 2>(band, d, y, x, put);
    case 1:
      return depthwise_patches<step, height, 1>(band, d, y, x, put);
    default:
      return;
  }
}

// `width` outputs, all of their channels: memory is written in its order.
template <int width, typename Put>
inline void depthwise_pixels(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                             std::int64_t y, std::int64_t x, const Put& put) {
  const std::int64_t at = x * d.stride_w * d.stride;
  if (d.kernel_h == 3 && d.kernel_w == 3 && d.dilation_h == 1 && d.dilation_w == 1 &&
      d.stride_w == 1) {
    const std::int64_t top = y * d.stride_h;
    for (std::int64_t c = 0; c < d.stride; c += Vec::lanes) {
      const float* const rows[3] = {band.row(top) + at + c, band.row(top + 1) + at + c,
                                    band.row(top + 2) + at + c};
      depthwise_outputs_of_nine<width>(rows, d.stride, d.weights + c, d.weight_step,
                                       [&](Vec::Float sum, int i) { put(sum, y, x + i, c); });
    }
    return;
  }
  for (std::int64_t c = 0; c < d.stride; c += Vec::lanes) {
    depthwise_outputs<width>(band, d, y, at + c, d.weights + c,
                             [&](Vec::Float sum, int i) { put(sum, y, x + i, c); });
  }
}

// The columns of a row from x on, `width` at a time, then half as many.
template <int width, typename Put>
inline void depthwise_columns(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                              std::int64_t y, std::int64_t x, const Put& put) {
  for (; x + width <= band.columns; x += width) depthwise_pixels<width>(band, d, y, x, put);
  if constexpr (width > 1) depthwise_columns<width / 2>(band, d, y, x, put);
}

// All rows of a band. By patches where loads are the limit; NEON's short vectors wait for their
// multiply-adds, and a patch would leave no register for the finish.
template <typename V, typename Put>
inline void depthwise_band(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                           const Put& put) {
  std::int64_t y = 0;
  if constexpr (V::patch_rows > 1) {
    if (d.three_by_three(1)) {
      for (; y + V::patch_rows <= band.rows; y += V::patch_rows) {
        depthwise_rows<1, V::patch_rows>(band, d, y, put);
      }
      for (; y < band.rows; ++y) depthwise_rows<1, 1>(band, d, y, put);
    } else if (d.three_by_three(2)) {
      for (; y < band.rows; ++y) depthwise_rows<2, 1>(band, d, y, put);
    }
  }
  for (; y < band.rows; ++y) depthwise_columns<4>(band, d, y, 0, put);
}

// finish: of the image's first pixel.
void depthwise(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
               const pyedge::Finish& finish) {
  with_streaming_finish<Vec>(finish, [&](const auto& put) {
    depthwise_band<Vec>(band, d,
                        [&](Vec::Float sum, std::int64_t y, std::int64_t x, std::int64_t c) {
                          put(sum, (band.top + y) * finish.row + x * finish.stride, c);
                        });
  });
}

// A pixel of the input that `count` outputs saw: where their gradients and their weights begin.
struct DepthwiseTaps {
  const float* gradient[pyedge::most_depthwise_taps];
  const float* weights[pyedge::most_depthwise_taps];
  int count = 0;
};

// known: how many taps there are, so that their places are in registers; 0: taps.count of them.
template <int known, typename Put>
inline void gather_depthwise(const DepthwiseTaps& taps, std::int64_t stride, std::int64_t at,
                             const Put& put) {
  const float *gradient[known + 1], *weights[known + 1];
#pragma GCC unroll 16
  for (int i = 0; i < known; ++i) gradient[i] = taps.gradient[i], weights[i] = taps.weights[i];
  for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
    Vec::Float sum = Vec::zero();
    if constexpr (known == 0) {
      for (int i = 0; i < taps.count; ++i) {
        sum = Vec::fma(Vec::load(taps.gradient[i] + c), Vec::load(taps.weights[i] + c), sum);
      }
    } else {
#pragma GCC unroll 16
      for (int i = 0; i < known; ++i) {
        sum = Vec::fma(Vec::load(gradient[i] + c), Vec::load(weights[i] + c), sum);
      }
    }
    put(sum, at, c);
  }
}

// Rows [first, first + rows) of the input's gradient. Each pixel gathers from the outputs that saw
// it, whatever stride and dilation. finish: of the image's first pixel.
void depthwise_input_gradient(const pyedge::DepthwiseGradient& g, const pyedge::DepthwiseWindow& d,
                              std::int64_t first, std::int64_t rows, const pyedge::Finish& finish) {
  with_finish(finish, [&](const auto& put) {
    for (std::int64_t y = first; y < first + rows; ++y) {
      for (std::int64_t x = 0; x < g.w; ++x) {
        DepthwiseTaps taps;
        for (std::int64_t ky = 0; ky < d.kernel_h; ++ky) {
          const std::int64_t down = y + g.padding_h - ky * d.dilation_h;
          if (down < 0 || down % d.stride_h != 0 || down / d.stride_h >= g.out_h) continue;
          for (std::int64_t kx = 0; kx < d.kernel_w; ++kx) {
            const std::int64_t across = x + g.padding_w - kx * d.dilation_w;
            if (across < 0 || across % d.stride_w != 0 || across / d.stride_w >= g.out_w) continue;
            taps.gradient[taps.count] =
                g.gradient + (down / d.stride_h * g.out_w + across / d.stride_w) * d.stride;
            taps.weights[taps.count] = d.weights + (ky * d.kernel_w + kx) * d.weight_step;
            ++taps.count;
          }
        }
        const std::int64_t at = y * finish.row + x * finish.stride;
        switch (taps.count) {  // those of a 3x3 window away from the border
          case 1:
            gather_depthwise<1>(taps, d.stride, at, put);
            break;
          case 2:
            gather_depthwise<2>(taps, d.stride, at, put);
            break;
          case 4:
            gather_depthwise<4>(taps, d.stride, at, put);
            break;
          default:
            gather_depthwise<0>(taps, d.stride, at, put);
        }
      }
    }
  });
}

// sums [taps, stride] += of a band; gradient [rows, columns, stride].
void depthwise_weight_gradient(const pyedge::DepthwiseBand& band, const pyedge::DepthwiseWindow& d,
                               const float* gradient, float* sums) {
  constexpr int most = 4;  // of a window's columns at a time
  for (std::int64_t c = 0; c < d.stride; c += Vec::lanes) {
    for (std::int64_t ky = 0; ky < d.kernel_h; ++ky) {
      for (std::int64_t k = 0; k < d.kernel_w; k += most) {
        const int count = static_cast<int>(d.kernel_w - k < most ? d.kernel_w - k : most);
        float* to = sums + (ky * d.kernel_w + k) * d.stride + c;
        const std::int64_t apart = d.dilation_w * d.stride;
        Vec::Float found[most];
        for (int i = 0; i < most; ++i) found[i] = Vec::zero();
        for (std::int64_t y = 0; y < band.rows; ++y) {
          const float* in = band.row(y * d.stride_h + ky * d.dilation_h) + k * apart + c;
          const float* g = gradient + y * band.columns * d.stride + c;
          for (std::int64_t x = 0; x < band.columns; ++x) {
            const Vec::Float slope = Vec::load(g);
            if (count == 3) {
              found[0] = Vec::fma(Vec::load(in), slope, found[0]);
              found[1] = Vec::fma(Vec::load(in + apart), slope, found[1]);
              found[2] = Vec::fma(Vec::load(in + 2 * apart), slope, found[2]);
            } else if (count == most) {
              found[0] = Vec::fma(Vec::load(in), slope, found[0]);
              found[1] = Vec::fma(Vec::load(in + apart), slope, found[1]);
              found[2] = Vec::fma(Vec::load(in + 2 * apart), slope, found[2]);
              found[3] = Vec::fma(Vec::load(in + 3 * apart), slope, found[3]);
            } else {
              found[0] = Vec::fma(Vec::load(in), slope, found[0]);
              if (count == 2) found[1] = Vec::fma(Vec::load(in + apart), slope, found[1]);
            }
            in += d.stride_w * d.stride;
            g += d.stride;
          }
        }
        for (int i = 0; i < count; ++i) {
          Vec::store(to + i * d.stride, Vec::add(Vec::load(to + i * d.stride), found[i]));
        }
      }
    }
  }
}

}  // namespace
