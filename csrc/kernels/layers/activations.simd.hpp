// Activations with a curve, forward and backward, and products of maps, one image at a time.
#pragma once

#include <cstdint>

#include "kernels/layers/activations.hpp"

namespace {

// terms: of the highest power first
template <int count>
inline Vec::Float polynomial(const float (&terms)[count], Vec::Float x) {
  Vec::Float sum = Vec::splat(terms[0]);
  for (int i = 1; i < count; ++i) sum = Vec::fma(sum, x, Vec::splat(terms[i]));
  return sum;
}

// e^x = two_n (1 + r + p r^2), with |r| <= ln(2) / 2
struct PowerOfE {
  Vec::Float two_n, r, p;
};

// For |x| <= 87. As in Cephes' expf, but with one constant for ln(2) and a polynomial that errs by
// 4e-9: NEON has registers for no more of them.
inline PowerOfE parts_of_power(Vec::Float x) {
  // adding it rounds to a whole number n, and n + 127 is then in the last bits
  const Vec::Float magic = Vec::splat(0x1.8p23f + 127.0f);
  const Vec::Float whole = Vec::fma(x, Vec::splat(1.44269504f), magic);
  const Vec::Float n = Vec::sub(whole, magic);
  const Vec::Float r = Vec::fma(n, Vec::splat(-0.693147181f), x);
  constexpr float terms[] = {1.386379125e-03f, 8.367483504e-03f, 4.166723788e-02f, 1.666653454e-01f,
                             0.5f};
  const Vec::Float p = polynomial(terms, r);
  return {Vec::exponent(whole), r, p};
}

// e^x for |x| <= 87, to 3e-7 of itself (where multiply-adds are not fused 5e-6, far from 0). A NaN
// stays one.
inline Vec::Float power_of_e(Vec::Float x) {
  const PowerOfE e = parts_of_power(x);
  const Vec::Float power = Vec::fma(e.p, Vec::mul(e.r, e.r), Vec::add(e.r, Vec::splat(1.0f)));
  return Vec::mul(power, e.two_n);
}

// e^x - 1, also close to 0 to 3e-7 of itself.
inline Vec::Float power_of_e_less_one(Vec::Float x) {
  const PowerOfE e = parts_of_power(x);
  const Vec::Float more = Vec::fma(e.p, Vec::mul(e.r, e.r), e.r);
  return Vec::fma(more, e.two_n, Vec::sub(e.two_n, Vec::splat(1.0f)));
}

// The same; beyond 87 it is the border's.
inline Vec::Float exponential(Vec::Float x) {
  return power_of_e(Vec::clamp(x, Vec::splat(-87.0f), Vec::splat(87.0f)));
}

// A curve's value and slope at x.
struct Point {
  Vec::Float value, slope;
};

inline Vec::Float one() {
  return Vec::splat(1.0f);
}

inline Vec::Float negative(Vec::Float x) {
  return Vec::sub(Vec::zero(), x);
}

inline Vec::Float sigmoid(Vec::Float x) {
  return Vec::div(one(), Vec::add(one(), exponential(negative(x))));
}

struct Sigmoid {
  static Point at(Vec::Float x) {
    const Vec::Float s = sigmoid(x);
    return {s, Vec::mul(s, Vec::sub(one(), s))};
  }
};

struct HardSigmoid {
  static Point at(Vec::Float x) {
    const Vec::Float sixth = Vec::splat(1.0f / 6.0f), three = Vec::splat(3.0f);
    const Vec::Float s = Vec::fma(x, sixth, Vec::splat(0.5f));
    return {Vec::clamp(s, Vec::zero(), one()), Vec::inside(sixth, x, negative(three), three)};
  }
};

// x s(x): s + x s'
template <typename Gate>
struct Gated {
  static Point at(Vec::Float x) {
    const Point gate = Gate::at(x);
    return {Vec::mul(x, gate.value), Vec::fma(x, gate.slope, gate.value)};
  }
};

// sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))
struct TanhGate {
  static Point at(Vec::Float x) {
    const float k = 1.5957691216f;
    const Vec::Float square = Vec::mul(x, x);
    const Vec::Float u = Vec::mul(x, Vec::fma(square, Vec::splat(k * 0.044715f), Vec::splat(k)));
    const Vec::Float slope = Vec::fma(square, Vec::splat(k * 0.134145f), Vec::splat(k));
    const Point s = Sigmoid::at(u);
    return {s.value, Vec::mul(s.slope, slope)};
  }
};

// The normal distribution's share below x, to 1e-7: Abramowitz and Stegun, 7.1.26.
struct NormalGate {
  static Point at(Vec::Float x) {
    const Vec::Float away = Vec::max(x, negative(x));
    // max's second operand wins where one is a NaN
    const Vec::Float bell = power_of_e(
        Vec::max(Vec::splat(-87.0f), negative(Vec::mul(Vec::mul(x, x), Vec::splat(0.5f)))));
    const Vec::Float t =
        Vec::div(one(), Vec::fma(away, Vec::splat(0.3275911f * 0.70710678f), one()));
    constexpr float halves[] = {0.5307027145f, -0.7265760135f, 0.7107068705f, -0.142248368f,
                                0.127414796f};
    const Vec::Float beyond = Vec::mul(Vec::mul(polynomial(halves, t), t), bell);
    const Vec::Float between = Vec::sub(one(), Vec::add(beyond, beyond));
    return {Vec::add(beyond, Vec::where_equal(between, x, away)),
            Vec::mul(bell, Vec::splat(0.39894228f))};
  }
};

// tanh(log(1 + e^x)) = w / (w + 2) with w = e^x (e^x + 2); 1 from 20 on, where w is 2e17
struct SoftplusGate {
  static Point at(Vec::Float x) {
    const Vec::Float two = Vec::splat(2.0f);
    const Vec::Float e = power_of_e(Vec::clamp(x, Vec::splat(-87.0f), Vec::splat(20.0f)));
    const Vec::Float w = Vec::mul(e, Vec::add(e, two));
    const Vec::Float share = Vec::div(one(), Vec::add(w, two));
    // 4 e (e + 1) / (w + 2)^2, with w as one of its parts
    const Vec::Float half = Vec::mul(Vec::mul(Vec::fma(e, e, w), share), share);
    return {Vec::mul(w, share), Vec::add(half, half)};
  }
};

// The parts above 0 and below it, each 0 on the other side.
struct EluCurve {
  explicit EluCurve(const pyedge::Elu& elu)
      : scale(Vec::splat(elu.scale)),
        input_scale(Vec::splat(elu.input_scale)),
        below(Vec::splat(elu.scale * elu.alpha)),
        below_slope(Vec::splat(elu.scale * elu.alpha * elu.input_scale)) {}

  Point at(Vec::Float x) const {
    const Vec::Float least = Vec::splat(-87.0f);
    const Vec::Float less =
        power_of_e_less_one(Vec::clamp(Vec::mul(input_scale, x), least, Vec::zero()));
    // max's second operand wins where one is a NaN
    const Vec::Float above = Vec::max(Vec::zero(), x);
    const Vec::Float slope = Vec::fma(below_slope, less, below_slope);
    const Vec::Float more =
        Vec::inside(Vec::sub(scale, below_slope), x, Vec::zero(), Vec::splat(__builtin_inff()));
    return {Vec::fma(below, less, Vec::mul(scale, above)), Vec::add(slope, more)};
  }

  Vec::Float scale, input_scale, below, below_slope;
};

// put(offset of a vector, point there), zeros behind the channels
template <typename Curve, typename Put>
void each_point(const Curve& curve, const pyedge::ImageView& image, std::int64_t channels,
                const Put& put) {
  const LensVectors look(image.lens);
  const float* x = image.data;
  for (std::int64_t p = 0, at = 0; p < image.h * image.w; ++p, at += image.stride) {
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
      Point point = curve.at(look(Vec::load(x + at + c), c));
      if (c + Vec::lanes > channels) {
        const int left = channels > c ? static_cast<int>(channels - c) : 0;
        point = {Vec::keep_first(point.value, left), Vec::keep_first(point.slope, left)};
      }
      put(at + c, point);
    }
  }
}

template <typename Put>
void each_leaky_point(const pyedge::ImageView& image, const float* slopes, const Put& put) {
  const LensVectors look(image.lens);
  const Vec::Float infinite = Vec::splat(__builtin_inff());
  for (std::int64_t p = 0, at = 0; p < image.h * image.w; ++p, at += image.stride) {
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
      const Vec::Float x = look(Vec::load(image.data + at + c), c), below = Vec::load(slopes + c);
      const Vec::Float more = Vec::sub(one(), below);
      const Vec::Float slope = Vec::add(below, Vec::inside(more, x, Vec::zero(), infinite));
      put(at + c, Point{Vec::mul(slope, x), slope});
    }
  }
}

template <typename Put>
void on_curve(const pyedge::Activation& activation, const pyedge::ImageView& image,
              const Put& put) {
  const std::int64_t channels = activation.channels;
  switch (activation.curve) {
    case pyedge::Curve::leaky:
      return each_leaky_point(image, activation.slopes, put);
    case pyedge::Curve::sigmoid:
      return each_point(Sigmoid{}, image, channels, put);
    case pyedge::Curve::hard_sigmoid:
      return each_point(HardSigmoid{}, image, channels, put);
    case pyedge::Curve::silu:
      return each_point(Gated<Sigmoid>{}, image, channels, put);
    case pyedge::Curve::hard_swish:
      return each_point(Gated<HardSigmoid>{}, image, channels, put);
    case pyedge::Curve::gelu:
      return each_point(Gated<NormalGate>{}, image, channels, put);
    case pyedge::Curve::gelu_tanh:
      return each_point(Gated<TanhGate>{}, image, channels, put);
    case pyedge::Curve::mish:
      return each_point(Gated<SoftplusGate>{}, image, channels, put);
    case pyedge::Curve::elu:
      return each_point(EluCurve(activation.elu), image, channels, put);
  }
}

// out [h w, stride] = the curve at the image, seen through its lens
void activate(const pyedge::Activation& activation, const pyedge::ImageView& image, float* out) {
  on_curve(activation, image,
           [&](std::int64_t at, const Point& point) { Vec::store(out + at, point.value); });
}

// out = gradient times the curve's slope; out may be the image's own data or the gradient
void activation_gradient(const pyedge::Activation& activation, const pyedge::ImageView& image,
                         const float* gradient, float* out) {
  on_curve(activation, image, [&](std::int64_t at, const Point& point) {
    Vec::store(out + at, Vec::mul(Vec::load(gradient + at), point.slope));
  });
}

// out [h w, stride] = image times factor, each through its lens. A factor of one pixel is each
// pixel's.
void multiply_views(const pyedge::ImageView& image, const pyedge::ImageView& factor, float* out) {
  const LensVectors look(image.lens), look_factor(factor.lens);
  const std::int64_t step = factor.h * factor.w == 1 ? 0 : factor.stride;
  const float *x = image.data, *y = factor.data;
  for (std::int64_t p = 0; p < image.h * image.w; ++p, x += image.stride, y += step) {
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
      Vec::store(out + c, Vec::mul(look(Vec::load(x + c), c), look_factor(Vec::load(y + c), c)));
    }
    out += image.stride;
  }
}

// sums [stride] = of all pixels, the image (through its lens) times gradient [h w, stride]
void pixel_products(const pyedge::ImageView& image, const float* gradient, float* sums) {
  const LensVectors look(image.lens);
  const std::int64_t pixels = image.h * image.w, stride = image.stride;
  for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
    Vec::Float sum[4] = {Vec::zero(), Vec::zero(), Vec::zero(), Vec::zero()};
    for (std::int64_t p = 0; p < pixels; ++p) {
      const std::int64_t at = p * stride + c;
      sum[p & 3] =
          Vec::fma(look(Vec::load(image.data + at), c), Vec::load(gradient + at), sum[p & 3]);
    }
    Vec::store(sums + c, Vec::add(Vec::add(sum[0], sum[1]), Vec::add(sum[2], sum[3])));
  }
}

}  // namespace
