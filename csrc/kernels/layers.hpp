// Layers without weights, the statistics of batch norm, and the match with a teacher's map, one
// image at a time. Plain structs; the loops are in layers.simd.hpp and match_map.simd.hpp.
#pragma once

#include <cstdint>

#include "kernels/region.hpp"

namespace pyedge {

// One image seen through a lens: [h, w, stride], stride floats a pixel.
struct ImageView {
  const float* data;
  std::int64_t h, w, stride;
  Lens lens;
};

struct PoolWindow {
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w;
  std::int64_t out_h, out_w;
};

// A teacher's map of one image, [pixels, c] without padding, as a knowledge pack holds it.
enum class MapType : std::int32_t { float32, float16, int8 };
struct TeacherMap {
  const void* data;
  MapType type;
  float scale;
};

}  // namespace pyedge
