// Regions of maps: copying with a border, and finishing computed values.
#pragma once

#include <cstdint>

#include "kernels/conv/region.hpp"

namespace {

// The lens with its bounds in registers.
struct LensVectors {
  const float* scale;
  const float* shift;
  Vec::Float low, high;
  bool clamps;

  explicit LensVectors(const pyedge::Lens& lens)
      : scale(lens.scale),
        shift(lens.shift),
        low(Vec::splat(lens.low)),
        high(Vec::splat(lens.high)),
        clamps(lens.clamps()) {}
  Vec::Float before_clamp(Vec::Float x, std::int64_t c) const {
    return scale == nullptr ? x : Vec::fma(x, Vec::load(scale + c), Vec::load(shift + c));
  }
  Vec::Float operator()(Vec::Float x, std::int64_t c) const {
    const Vec::Float y = before_clamp(x, c);
    return clamps ? Vec::clamp(y, low, high) : y;
  }
};

inline void fill_zero(float* to, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + Vec::lanes <= count; i += Vec::lanes) Vec::store(to + i, Vec::zero());
  for (; i < count; ++i) to[i] = 0.0f;
}

inline void copy_floats(float* to, const float* from, std::int64_t count) {
  std::int64_t i = 0;
  for (; i + Vec::lanes <= count; i += Vec::lanes) Vec::store(to + i, Vec::load(from + i));
  for (; i < count; ++i) to[i] = from[i];
}

// pixels of `channels` floats, `stride` apart -> one after the other. ahead: floats to what is
// asked for meanwhile; 0: nothing.
inline void copy_through(const pyedge::Lens& lens, float* to, const float* from,
                         std::int64_t pixels, std::int64_t stride, std::int64_t channels,
                         std::int64_t ahead = 0) {
  if (Vec::patch_rows == 1) ahead = 0;  // NEON's sums of a depthwise band ask for nothing either
  if (channels == stride && lens.scale == nullptr) {
    const LensVectors look(lens);
    if (ahead != 0) {
      for (std::int64_t i = 0; i < pixels * stride; i += Vec::lanes) {
        Vec::store(to + i, look(Vec::load(from + i), 0));
        __builtin_prefetch(from + i + ahead, 0, 2);
      }
      return;
    }
    if (lens.plain()) return copy_floats(to, from, pixels * stride);
    for (std::int64_t i = 0; i < pixels * stride; i += Vec::lanes) {
      Vec::store(to + i, Vec::clamp(Vec::load(from + i), look.low, look.high));
    }
    return;
  }
  const LensVectors look(lens);
  std::int64_t p = 0;
  if (lens.scale != nullptr) {  // four pixels share what a channel is scaled by
    for (; p + 4 <= pixels; p += 4, to += 4 * channels, from += 4 * stride) {
      for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
        const Vec::Float scale = Vec::load(lens.scale + c), shift = Vec::load(lens.shift + c);
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) {
          const Vec::Float y = Vec::fma(Vec::load(from + i * stride + c), scale, shift);
          Vec::store(to + i * channels + c, Vec::clamp(y, look.low, look.high));
        }
        if (ahead == 0) continue;
#pragma GCC unroll 4
        for (int i = 0; i < 4; ++i) __builtin_prefetch(from + i * stride + c + ahead, 0, 2);
      }
    }
  }
  for (; p < pixels; ++p, to += channels, from += stride) {
    if (lens.scale == nullptr) {
      for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
        Vec::store(to + c, look(Vec::load(from + c), c));
      }
      continue;
    }
    for (std::int64_t c = 0; c < channels; c += Vec::lanes) {
      const Vec::Float y =
          Vec::fma(Vec::load(from + c), Vec::load(lens.scale + c), Vec::load(lens.shift + c));
      Vec::store(to + c, Vec::clamp(y, look.low, look.high));
    }
  }
}

// line: where a row of the region goes, `channels` numbers a pixel
template <typename Line>
inline void copy_rows(const pyedge::Region& r, Line line) {
  const std::int64_t first = r.left < 0 ? (-r.left < r.columns ? -r.left : r.columns) : 0;
  std::int64_t end = r.w - r.left < r.columns ? r.w - r.left : r.columns;
  if (end < first) end = first;
  for (std::int64_t y = r.top; y < r.top + r.rows; ++y, line.to += r.columns * line.channels) {
    if (y < 0 || y >= r.h) {
      line.zero(0, r.columns);
      continue;
    }
    line.zero(0, first);
    line.copy(first, r.image + (y * r.w + r.left + first) * r.stride, end - first);
    line.zero(end, r.columns - end);
  }
}

struct FloatLine {
  const pyedge::Region& r;
  const std::int64_t channels;
  float* to;
  void zero(std::int64_t first, std::int64_t pixels) const {
    fill_zero(to + first * channels, pixels * channels);
  }
  void copy(std::int64_t first, const float* from, std::int64_t pixels) const {
    const std::int64_t row = r.w * r.stride;
    const bool asks = r.ahead != 0 && (from - r.image) / row % 2 == 0;
    copy_through(r.lens, to + first * channels, from, pixels, r.stride, channels,
                 asks ? r.ahead * row : 0);
  }
};

void copy_region(const pyedge::Region& r) {
  copy_rows(r, FloatLine{r, r.channels > 0 ? r.channels : r.stride, r.to});
}

// The bits of a vector of values, by number.
inline Vec::Bits bits_at(const std::uint8_t* mask, std::int64_t value) {
  Vec::Bits bits;
  __builtin_memcpy(&bits, mask + value / Vec::lanes * static_cast<std::int64_t>(sizeof bits),
                   sizeof bits);
  return bits;
}

struct FinishVectors {
  const pyedge::Finish& f;
  LensVectors look, other;
  Vec::Float beta;

  static constexpr bool asks = true;  // questions, for every vector
  explicit FinishVectors(const pyedge::Finish& finish)
      : f(finish), look(finish.lens), other(finish.residual_lens), beta(Vec::splat(finish.beta)) {}

  // at: the pixel's first channel, in floats from out
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    float* out = f.out + at + c;
    if (f.base != nullptr) {
      const Vec::Float x = Vec::load(f.base + at + c);
      if (look.clamps) y = Vec::inside(y, look.before_clamp(x, c), look.low, look.high);
      if (f.gain != nullptr) y = Vec::mul(y, Vec::load(f.gain + c));
      if (f.beta != 0.0f) y = Vec::fma(x, beta, y);
    }
    if (f.bias != nullptr) y = Vec::add(y, Vec::load(f.bias + c));
    if (f.residual != nullptr) y = Vec::add(y, other(Vec::load(f.residual + at + c), c));
    if (f.accumulate) y = Vec::add(y, Vec::load(out));
    Vec::store(out, y);
  }
};

// The finishes that take nearly all of a step's time, each without a question asked a vector:
// store; add to what is there; add a plain residual; the gradient through a norm and a ReLU.
struct StoreVectors {
  float* out;
  static constexpr bool asks = false;
  explicit StoreVectors(const pyedge::Finish& f) : out(f.out) {}
  static bool fits(const pyedge::Finish& f) { return f.stores(); }
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    Vec::store(out + at + c, y);
  }
};

// A line that no cache holds is not read before it is written: a third of what a map's result
// moves.
template <typename V>
struct StreamVectors {
  float* out;
  static constexpr bool asks = false;
  explicit StreamVectors(const pyedge::Finish& f) : out(f.out) {}
  void operator()(typename V::Float y, std::int64_t at, std::int64_t c) const {
    V::stream(out + at + c, y);
  }
};

struct AccumulateVectors {
  float* out;
  static constexpr bool asks = false;
  explicit AccumulateVectors(const pyedge::Finish& f) : out(f.out) {}
  static bool fits(const pyedge::Finish& f) {
    return f.accumulate && f.bias == nullptr && f.base == nullptr && f.residual == nullptr;
  }
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    Vec::store(out + at + c, Vec::add(y, Vec::load(out + at + c)));
  }
};

struct AddVectors {
  float* out;
  const float* residual;
  static constexpr bool asks = false;
  explicit AddVectors(const pyedge::Finish& f) : out(f.out), residual(f.residual) {}
  static bool fits(const pyedge::Finish& f) {
    return f.residual != nullptr && f.residual_lens.plain() && f.bias == nullptr &&
           f.base == nullptr && !f.accumulate;
  }
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    Vec::store(out + at + c, Vec::add(y, Vec::load(residual + at + c)));
  }
};

struct GradientVectors {
  float* out;
  const float *base, *scale, *shift;
  Vec::Float high, beta;  // a lens that clamps has a low of zero
  static constexpr bool asks = false;
  explicit GradientVectors(const pyedge::Finish& f)
      : out(f.out),
        base(f.base),
        scale(f.lens.scale),
        shift(f.lens.shift),
        high(Vec::splat(f.lens.high)),
        beta(Vec::splat(f.beta)) {}
  static bool fits(const pyedge::Finish& f) {
    return f.base != nullptr && f.lens.clamps() && f.lens.scale != nullptr &&
           f.gain == f.lens.scale && f.bias == nullptr && f.residual == nullptr && !f.accumulate;
  }
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    const Vec::Float x = Vec::load(base + at + c), gain = Vec::load(scale + c);
    const Vec::Float before = Vec::fma(x, gain, Vec::load(shift + c));
    y = Vec::mul(Vec::inside(y, before, Vec::zero(), high), gain);
    Vec::store(out + at + c, Vec::fma(x, beta, y));
  }
};

// A gradient that is masked has no bias and no residual.
struct MaskedVectors {
  float* out;
  const std::uint8_t* mask;
  std::int64_t first;
  const float* gain;
  bool accumulate;
  static constexpr bool asks = true;
  explicit MaskedVectors(const pyedge::Finish& f)
      : out(f.out), mask(f.mask), first(f.mask_first), gain(f.gain), accumulate(f.accumulate) {}
  static bool fits(const pyedge::Finish& f) { return f.mask != nullptr; }
  void operator()(Vec::Float y, std::int64_t at, std::int64_t c) const {
    y = Vec::keep(y, bits_at(mask, first + at + c));
    if (gain != nullptr) y = Vec::mul(y, Vec::load(gain + c));
    if (accumulate) y = Vec::add(y, Vec::load(out + at + c));
    Vec::store(out + at + c, y);
  }
};

// Calls body(put) with the plainest finish that fits.
template <typename Body>
inline void with_finish(const pyedge::Finish& f, const Body& body) {
  if (MaskedVectors::fits(f)) return body(MaskedVectors(f));
  if (StoreVectors::fits(f)) return body(StoreVectors(f));
  if (AccumulateVectors::fits(f)) return body(AccumulateVectors(f));
  if (AddVectors::fits(f)) return body(AddVectors(f));
  if (GradientVectors::fits(f)) return body(GradientVectors(f));
  body(FinishVectors(f));
}

// The same, past the caches where the finish wants it.
template <typename V, typename Body>
inline void with_streaming_finish(const pyedge::Finish& f, const Body& body) {
  if constexpr (V::streams) {
    if (f.streams && f.stores()) {
      body(StreamVectors<V>(f));
      return V::stream_end();
    }
  }
  with_finish(f, body);
}

// values [rows, columns, stride] -> pixels of f.out, the first at `grid`'s corner
void finish_region(const pyedge::Finish& finish, const float* values, std::int64_t rows,
                   std::int64_t columns, const pyedge::PixelGrid& grid) {
  with_finish(finish, [&](const auto& put) {
    const float* from = values;
    for (std::int64_t y = 0; y < rows; ++y) {
      for (std::int64_t x = 0; x < columns; ++x, from += finish.stride) {
        const std::int64_t at = (grid.top + y * grid.step_h) * finish.row +
                                (grid.left + x * grid.step_w) * finish.stride;
        for (std::int64_t c = 0; c < finish.stride; c += Vec::lanes) {
          put(Vec::load(from + c), at, c);
        }
      }
    }
  });
}

}  // namespace
