// Images on their way in: picked from an array by row, standardised, mirrored, shifted.
#pragma once

#include <cstdint>
#include <vector>

namespace pyedge {

struct Preprocessing {
  enum class Kind { none, image, channel } kind = Kind::none;
  std::vector<float> mean, deviation;  // of each channel, on a scale of 0 to 1
};

// n images out of an array [count, c, h, w] or [count, h, w, c], uint8 or float32.
struct ImageBatch {
  const void* data = nullptr;
  bool is_float = false;  // preprocessed already
  bool channels_last = false;
  std::int64_t n = 0;
  std::int64_t first = 0;               // row of the first image where `rows` is null
  const std::int64_t* rows = nullptr;   // null: n rows from `first` on
  const std::int32_t* shift = nullptr;  // [n, 2]: pixel (y, x) reads (y + dy, x + dx), 0 outside
  const bool* flip = nullptr;           // [n]: mirrored first
};

// Images [first, first + n) of a batch.
ImageBatch part_of(const ImageBatch& batch, std::int64_t first, std::int64_t n);

// -> maps [n, h, w, stride]. Throws std::invalid_argument for a float that is not finite.
void load_images(const ImageBatch& batch, const Preprocessing& preprocessing, std::int64_t c,
                 std::int64_t h, std::int64_t w, std::int64_t stride, float* maps);

}  // namespace pyedge
