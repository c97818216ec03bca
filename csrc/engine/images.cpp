// Per-image standardisation as in Sec. 5 of the paper, and the views of an image that a knowledge
// pack may hold.
#include "engine/images.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

struct Affine {
  float scale, shift;
};

// (x - mean) / max(deviation, 1 / sqrt(count)): an even image becomes zeros.
Affine of_image(const std::uint8_t* pixels, std::int64_t count) {
  constexpr std::int64_t block = 1 << 14;  // whose sum of squares fits 31 bits
  std::int64_t sum = 0, squares = 0;
  for (std::int64_t first = 0; first < count; first += block) {
    const std::int64_t end = std::min(first + block, count);
    std::int32_t part = 0, part_squares = 0;
    for (std::int64_t i = first; i < end; ++i) {
      const std::int32_t x = pixels[i];
      part += x, part_squares += x * x;
    }
    sum += part, squares += part_squares;
  }
  const double n = static_cast<double>(count), mean = static_cast<double>(sum) / n;
  // whole numbers: exact up to 2^53
  const double spread =
      (static_cast<double>(squares) * n - static_cast<double>(sum) * static_cast<double>(sum)) / n;
  const double scale = std::sqrt(n) / std::max(std::sqrt(std::max(spread, 0.0)), 1.0);
  return {static_cast<float>(scale), static_cast<float>(-mean * scale)};
}

// Pixels of a row, one channel: `step` apart, from right to left where it is negative.
void copy_row(const std::uint8_t* from, std::int64_t step, Affine a, std::int64_t count, float* to,
              std::int64_t stride) {
  for (std::int64_t x = 0; x < count; ++x) {
    to[x * stride] = a.scale * static_cast<float>(from[x * step]) + a.shift;
  }
}

void copy_row(const float* from, std::int64_t step, Affine, std::int64_t count, float* to,
              std::int64_t stride) {
  for (std::int64_t x = 0; x < count; ++x) to[x * stride] = from[x * step];
}

}  // namespace

ImageBatch part_of(const ImageBatch& batch, std::int64_t first, std::int64_t n) {
  ImageBatch part = batch;
  part.n = n;
  part.first += first;
  if (part.rows != nullptr) part.rows += first;
  if (part.shift != nullptr) part.shift += 2 * first;
  if (part.flip != nullptr) part.flip += first;
  return part;
}

void load_images(const ImageBatch& batch, const Preprocessing& how, std::int64_t c, std::int64_t h,
                 std::int64_t w, std::int64_t stride, float* maps) {
  const std::int64_t size = c * h * w;
  const std::int64_t channel_step = batch.channels_last ? 1 : h * w;
  const std::int64_t pixel_step = batch.channels_last ? c : 1;
  parallel_for(batch.n, [&](std::int64_t i) {
    const std::int64_t row = batch.rows != nullptr ? batch.rows[i] : batch.first + i;
    const auto* bytes = static_cast<const std::uint8_t*>(batch.data) + row * size;
    const float* floats = static_cast<const float*>(batch.data) + row * size;
    std::vector<Affine> affine(static_cast<std::size_t>(c), {1.0f / 255.0f, 0.0f});
    if (batch.is_float) {
      if (!std::all_of(floats, floats + size, [](float x) { return std::isfinite(x); })) {
        throw std::invalid_argument("images: wanted finite numbers, got NaN or infinity in image " +
                                    std::to_string(row));
      }
    } else if (how.kind == Preprocessing::Kind::image) {
      std::fill(affine.begin(), affine.end(), of_image(bytes, size));
    } else if (how.kind == Preprocessing::Kind::channel) {
      for (std::size_t ch = 0; ch < affine.size(); ++ch) {
        affine[ch] = {1.0f / (255.0f * how.deviation[ch]), -how.mean[ch] / how.deviation[ch]};
      }
    }
    const std::int64_t dy = batch.shift != nullptr ? batch.shift[2 * i] : 0;
    const std::int64_t dx = batch.shift != nullptr ? batch.shift[2 * i + 1] : 0;
    const bool flipped = batch.flip != nullptr && batch.flip[i];
    float* to = maps + i * h * w * stride;
    if (dy != 0 || dx != 0 || stride != c) std::fill_n(to, h * w * stride, 0.0f);
    // columns that see the image, and what the first of them sees
    const std::int64_t left = std::clamp<std::int64_t>(-dx, 0, w);
    const std::int64_t count = std::clamp<std::int64_t>(w - dx, left, w) - left;
    const std::int64_t seen = flipped ? w - 1 - (left + dx) : left + dx;
    const std::int64_t step = flipped ? -pixel_step : pixel_step;
    for (std::int64_t y = std::clamp<std::int64_t>(-dy, 0, h); y < std::min(h, h - dy); ++y) {
      float* row_to = to + (y * w + left) * stride;
      for (std::int64_t ch = 0; ch < c; ++ch) {
        const std::int64_t at = ((y + dy) * w + seen) * pixel_step + ch * channel_step;
        const Affine a = affine[static_cast<std::size_t>(ch)];
        if (batch.is_float) {
          copy_row(floats + at, step, a, count, row_to + ch, stride);
        } else {
          copy_row(bytes + at, step, a, count, row_to + ch, stride);
        }
      }
    }
  });
}

}  // namespace pyedge
