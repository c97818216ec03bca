// A map in 16 bits a value, for the time between the forward and the backward pass.
//
// A pixel's channels share a step, its largest magnitude over 32766: in norm the copy is off by
// some 3e-5 where half precision would be off by 3e-4. The one comparison that the backward pass
// makes, of a batch norm's ReLU, comes out as it does for the map itself: where rounding crossed
// the bend, the value moves one step back over it.
#pragma once

#include <cstdint>

#include "kernels/layers/layers.hpp"

namespace {

void compact_map(const pyedge::ImageView& image, const pyedge::CompactMap& to) {
  const LensVectors look(image.lens);
  const Vec::Float one = Vec::splat(1.0f), zero = Vec::zero(),
                   infinity = Vec::splat(__builtin_inff());
  // 1 where x > 0
  const auto on = [&](Vec::Float x) { return Vec::inside(one, x, zero, infinity); };
  // Adding and taking away 1.5 * 2^23 rounds to a whole number.
  const Vec::Float rounding = Vec::splat(0x1.8p23f);
  const float* x = image.data;
  std::int16_t* values = to.values;
  for (std::int64_t p = 0; p < image.h * image.w; ++p, x += image.stride, values += image.stride) {
    Vec::Float large = zero;
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
      const Vec::Float v = Vec::load(x + c);
      large = Vec::max(large, Vec::max(v, Vec::sub(zero, v)));
    }
    const float magnitude = Vec::largest(large);
    // so small that its inverse overflows: zero
    to.steps[p] = magnitude > 1e-30f ? magnitude / 32766.0f : 0.0f;
    const Vec::Float step = Vec::splat(to.steps[p]);
    const Vec::Float inverse = Vec::splat(magnitude > 1e-30f ? 32766.0f / magnitude : 0.0f);
    for (std::int64_t c = 0; c < image.stride; c += Vec::lanes) {
      const Vec::Float v = Vec::load(x + c);
      Vec::Float q = Vec::sub(Vec::add(Vec::mul(v, inverse), rounding), rounding);
      if (look.clamps) {
        const Vec::Float before = look.before_clamp(v, c);
        const Vec::Float after = look.before_clamp(Vec::mul(q, step), c);
        if (Vec::sides_differ(before, after)) {
          Vec::Float way = Vec::sub(on(before), on(after));
          if (image.lens.scale != nullptr) {
            const Vec::Float scale = Vec::load(image.lens.scale + c);
            way = Vec::mul(way, Vec::sub(on(scale), on(Vec::sub(zero, scale))));
          }
          q = Vec::add(q, way);
        }
      }
      Vec::store_int16(values + c, q);  // at most 32767: 32766 and a step over the bend
    }
  }
}

void restore_map(const pyedge::CompactMap& from, std::int64_t pixels, std::int64_t stride,
                 float* map) {
  const std::int16_t* values = from.values;
  for (std::int64_t p = 0; p < pixels; ++p, values += stride, map += stride) {
    const Vec::Float step = Vec::splat(from.steps[p]);
    for (std::int64_t c = 0; c < stride; c += Vec::lanes) {
      Vec::store(map + c, Vec::mul(Vec::load_int16(values + c), step));
    }
  }
}

}  // namespace
