// Pools, sums of maps, channel pads, and the sums that batch norm needs, one image at a time.
#pragma once

#include <cstdint>

#include "kernels/layers/layers.hpp"

namespace {

// out [h w, stride] = a + b, each through its lens
void add_views(const pyedge::ImageView& a, const pyedge::ImageView& b, float* out) {
  const LensVectors look_a(a.lens), look_b(b.lens);
  const float *x = a.data, *y = b.data;
  for (std::int64_t p = 0; p < a.h * a.w; ++p, x += a.stride, y += a.stride, out += a.stride) {
    for (std::int64_t c = 0; c < a.stride; c += Vec::lanes) {
      Vec::store(out + c, Vec::add(look_a(Vec::load(x + c), c), look_b(Vec::load(y + c), c)));
    }
  }
}

// The part of a window that lies inside the image.
struct Window {
  std::int64_t y0, y1, x0, x1;
  Window(const pyedge::PoolWindow& p, const pyedge::ImageView& image, std::int64_t oy,
         std::int64_t ox) {
    y0 = oy * p.stride_h - p.padding_h;
    x0 = ox * p.stride_w - p.padding_w;
    y1 = y0 + p.kernel_h < image.h ? y0 + p.kernel_h : image.h;
    x1 = x0 + p.kernel_w < image.w ? x0 + p.kernel_w : image.w;
    if (y0 < 0) y0 = 0;
    if (x0 < 0) x0 = 0;
  }
  template <typename Body>
  void each(std::int64_t w, std::int64_t stride, const Body& body) const {
    for (std::int64_t y = y0; y < y1; ++y) {
      for (std::int64_t x = x0; x < x1; ++x) body((y * w + x) * stride);
    }
  }
};

template <bool maximum>
inline Vec::Float pooled(const Window& window, const pyedge::ImageView& image,
                         const LensVectors& look, std::int64_t c) {
  Vec::Float value = maximum ? Vec::splat(-__builtin_inff()) : Vec::zero();
  window.each(image.w, image.stride, [&](std::int64_t at) {
    const Vec::Float x = look(Vec::load(image.data + at + c), c);
    value = maximum ? Vec::max(value, x) : Vec::add(value, x);
  });
  return value;
}

void average_pool(const pyedge::ImageView& image, const pyedge::PoolWindow& p, float* out) {
  const LensVectors look(image.lens);
  const Vec::Float share = Vec::splat(1.0f / static_cast<float>(p.kernel_h * p.kernel_w));
  for (std::int64_t oy = 0; oy < p.out_h; ++oy) {
    for (std::int64_t ox = 0; ox < p.out_w; ++ox, out += image.stride) {
      const Window window(p, image, oy, ox);
      for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
        Vec::store(out + c, Vec::mul(pooled<false>(window, image, look, c), share));
      }
    }
  }
}

void max_pool(const pyedge::ImageView& image, const pyedge::PoolWindow& p, float* out) {
  const LensVectors look(image.lens);
  for (std::int64_t oy = 0; oy < p.out_h; ++oy) {
    for (std::int64_t ox = 0; ox < p.out_w; ++ox, out += image.stride) {
      const Window window(p, image, oy, ox);
      for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
        Vec::store(out + c, pooled<true>(window, image, look, c));
      }
    }
  }
}

// gradient [h, w, stride] += what the pool's output gradient sends back (to the view's values)
void average_pool_backward(const pyedge::ImageView& image, const pyedge::PoolWindow& p,
                           const float* from, float* gradient) {
  const Vec::Float share = Vec::splat(1.0f / static_cast<float>(p.kernel_h * p.kernel_w));
  for (std::int64_t oy = 0; oy < p.out_h; ++oy) {
    for (std::int64_t ox = 0; ox < p.out_w; ++ox, from += image.stride) {
      const Window window(p, image, oy, ox);
      for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
        const Vec::Float g = Vec::mul(Vec::load(from + c), share);
        window.each(image.w, image.stride, [&](std::int64_t at) {
          Vec::store(gradient + at + c, Vec::add(Vec::load(gradient + at + c), g));
        });
      }
    }
  }
}

// The first of equal maxima takes the gradient, as in torch.
void max_pool_backward(const pyedge::ImageView& image, const pyedge::PoolWindow& p,
                       const float* from, float* gradient) {
  const LensVectors look(image.lens);
  for (std::int64_t oy = 0; oy < p.out_h; ++oy) {
    for (std::int64_t ox = 0; ox < p.out_w; ++ox, from += image.stride) {
      const Window window(p, image, oy, ox);
      for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
        const Vec::Float most = pooled<true>(window, image, look, c);
        Vec::Float left = Vec::load(from + c);
        window.each(image.w, image.stride, [&](std::int64_t at) {
          const Vec::Float x = look(Vec::load(image.data + at + c), c);
          const Vec::Float given = Vec::where_equal(left, x, most);
          left = Vec::sub(left, given);
          Vec::store(gradient + at + c, Vec::add(Vec::load(gradient + at + c), given));
        });
      }
    }
  }
}

void global_average(const pyedge::ImageView& image, float* out) {
  const LensVectors look(image.lens);
  const std::int64_t pixels = image.h * image.w;
  const Vec::Float share = Vec::splat(1.0f / static_cast<float>(pixels));
  for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
    Vec::Float even = Vec::zero(), odd = Vec::zero();
    std::int64_t p = 0;
    for (; p + 2 <= pixels; p += 2) {
      even = Vec::add(even, look(Vec::load(image.data + p * image.stride + c), c));
      odd = Vec::add(odd, look(Vec::load(image.data + (p + 1) * image.stride + c), c));
    }
    if (p < pixels) even = Vec::add(even, look(Vec::load(image.data + p * image.stride + c), c));
    Vec::store(out + c, Vec::mul(Vec::add(even, odd), share));
  }
}

// every pixel's gradient is the same: gradient [stride] / pixels, finished
void spread_average(const float* gradient, std::int64_t h, std::int64_t w,
                    const pyedge::Finish& finish) {
  const Vec::Float share = Vec::splat(1.0f / static_cast<float>(h * w));
  with_finish(finish, [&](const auto& put) {
    for (std::int64_t y = 0; y < h; ++y) {
      for (std::int64_t x = 0; x < w; ++x) {
        const std::int64_t at = y * finish.row + x * finish.stride;
        for (std::int64_t c = 0; c < finish.stride; c += Vec::lanes) {
          put(Vec::mul(Vec::load(gradient + c), share), at, c);
        }
      }
    }
  });
}

// out [pixels, out_stride] = the view's channels at their places, zeros elsewhere. `buffer` holds
// one pixel of the view. Reads up to wide_lanes floats beyond a pixel's last channel.
void pad_channels(const pyedge::ImageView& image, const pyedge::ChannelPlaces& places, float* out,
                  std::int64_t out_stride, float* buffer) {
  const float* from = image.data;
  for (std::int64_t p = 0; p < image.h * image.w; ++p, from += image.stride, out += out_stride) {
    const float* x = from;
    if (!image.lens.plain()) {
      copy_through(image.lens, buffer, from, 1, image.stride, image.stride);
      x = buffer;
    }
    if (places.steps != nullptr) {
      const pyedge::LaneStep* step = places.steps;
      for (std::int64_t o = 0; o < out_stride; o += Vec::wide_lanes, ++step) {
        Vec::expand(out + o, x + step->student_channel, step->mask);
      }
      continue;
    }
    fill_zero(out, out_stride);
    for (std::int64_t i = 0; i < places.c; ++i) {
      if (places.position[i] >= 0) out[places.position[i]] = x[i];
    }
  }
}

// values [pixels, stride] = gradient [pixels, out_stride] at each channel's place, 0 if it has
// none. Writes up to wide_lanes floats beyond the last pixel.
void unpad_channels(const float* gradient, std::int64_t pixels, std::int64_t out_stride,
                    const pyedge::ChannelPlaces& places, float* values, std::int64_t stride) {
  for (std::int64_t p = 0; p < pixels; ++p, gradient += out_stride, values += stride) {
    if (places.steps != nullptr) {
      const pyedge::LaneStep* step = places.steps;
      for (std::int64_t o = 0; o < out_stride; o += Vec::wide_lanes, ++step) {
        if (step->mask) Vec::compress(values + step->student_channel, gradient + o, step->mask);
      }
    } else {
      for (std::int64_t i = 0; i < places.c; ++i) {
        values[i] = places.position[i] >= 0 ? gradient[places.position[i]] : 0.0f;
      }
    }
    for (std::int64_t i = places.c; i < stride; ++i) values[i] = 0.0f;
  }
}

// Windows that tile the image: every pixel has one, and its gradient is ready at once.
void average_tiles_backward(const float* from, const pyedge::PoolWindow& p,
                            const pyedge::Finish& finish) {
  const Vec::Float share = Vec::splat(1.0f / static_cast<float>(p.kernel_h * p.kernel_w));
  with_finish(finish, [&](const auto& put) {
    const float* pixel = from;
    for (std::int64_t oy = 0; oy < p.out_h; ++oy) {
      for (std::int64_t ox = 0; ox < p.out_w; ++ox, pixel += finish.stride) {
        const std::int64_t corner = oy * p.kernel_h * finish.row + ox * p.kernel_w * finish.stride;
        for (std::int64_t c = 0; c < finish.stride; c += Vec::lanes) {
          const Vec::Float g = Vec::mul(Vec::load(pixel + c), share);
          for (std::int64_t y = 0; y < p.kernel_h; ++y) {
            for (std::int64_t x = 0; x < p.kernel_w; ++x) {
              put(g, corner + y * finish.row + x * finish.stride, c);
            }
          }
        }
      }
    }
  });
}

// sums [2, stride] float64: of a, and of a * b, over the pixels
void channel_sums(const float* a, const float* b, std::int64_t pixels, std::int64_t stride,
                  double* sums) {
  constexpr int wide = Vec::wide_lanes;
  for (std::int64_t c = 0; c < stride; c += wide) {
    Vec::Wide sum = Vec::no_sum(), product = Vec::no_sum();
    const Vec::Wide one = Vec::splat(1.0);
    for (std::int64_t p = 0; p < pixels; ++p) {
      const Vec::Wide x = Vec::widen(a + p * stride + c);
      sum = Vec::fma(x, one, sum);
      product = Vec::fma(x, Vec::widen(b + p * stride + c), product);
    }
    Vec::store_wide(sums + c, sum);
    Vec::store_wide(sums + stride + c, product);
  }
}

// out (+)= g * by_gradient[c] + x * by_map[c] + constant[c]: batch norm's backward
void combine(const float* g, const float* x, std::int64_t pixels, std::int64_t stride,
             const float* by_gradient, const float* by_map, const float* constant, float* out,
             bool accumulate) {
  for (std::int64_t p = 0; p < pixels; ++p, g += stride, x += stride, out += stride) {
    for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
      Vec::Float y =
          Vec::fma(Vec::load(g + c), Vec::load(by_gradient + c), Vec::load(constant + c));
      y = Vec::fma(Vec::load(x + c), Vec::load(by_map + c), y);
      if (accumulate) y = Vec::add(y, Vec::load(out + c));
      Vec::store(out + c, y);
    }
  }
}

}  // namespace
