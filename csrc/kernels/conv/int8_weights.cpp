#include "kernels/conv/int8_weights.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace pyedge {
namespace {

// To the nearest whole number, halves to even; of numbers below 2^22.
float rounded(float x) {
  constexpr float whole = 12582912.0f;  // 1.5 * 2^23: from there on floats are whole numbers
  return x + whole - whole;
}

}  // namespace

float* pack_int8(const WeightColumns& w, const InputScale& input, std::int32_t less,
                 float* packed) {
  const std::int64_t quads = (w.rows + 3) / 4;
  float* offsets = packed + w.taps * quads * w.width;
  float* factors = offsets + w.width;
  const auto weight = [&](std::int64_t tap, std::int64_t row, std::int64_t o) {
    return w.weights[tap * w.tap_step + row * w.row_step + o];
  };
  std::fill_n(factors, w.width, 0.0f);
  for (std::int64_t tap = 0; tap < w.taps; ++tap) {
    for (std::int64_t row = 0; row < w.rows; ++row) {
      for (std::int64_t o = 0; o < w.width; ++o) {
        factors[o] = std::max(factors[o], std::abs(weight(tap, row, o)));
      }
    }
  }
  for (std::int64_t o = 0; o < w.width; ++o) {
    const float inverse = factors[o] > 0.0f ? 127.0f / factors[o] : 0.0f;
    std::int32_t sum = 0;
    std::int8_t* to = reinterpret_cast<std::int8_t*>(packed) + 4 * o;
    for (std::int64_t tap = 0; tap < w.taps; ++tap) {
      for (std::int64_t quad = 0; quad < quads; ++quad, to += 4 * w.width) {
        for (std::int64_t i = 0; i < 4; ++i) {
          const std::int64_t row = 4 * quad + i;
          to[i] = row < w.rows ? static_cast<std::int8_t>(rounded(weight(tap, row, o) * inverse))
                               : std::int8_t{0};
          sum += to[i];
        }
      }
    }
    const std::int32_t offset = (less - input.zero_point) * sum;
    std::memcpy(offsets + o, &offset, sizeof offset);
    factors[o] = factors[o] / 127.0f * input.scale;
  }
  return factors + w.width;
}

}  // namespace pyedge
