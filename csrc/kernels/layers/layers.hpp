// Layers without weights, the statistics of batch norm, and the match with a teacher's map, one
// image at a time. Plain structs; the loops are in layers.simd.hpp and match_map.simd.hpp.
#pragma once

#include <cstdint>

#include "kernels/conv/region.hpp"

namespace pyedge {

// One wide vector's worth of teacher channels: which of them the student kept, and where the
// first of those lies among the student's channels.
struct LaneStep {
  std::uint32_t student_channel;
  std::uint16_t mask;
  std::uint16_t count;
};

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

// Where a channel pad puts channel c: at position[c], or nowhere if that is -1. Where positions
// rise, `steps` says the same for every wide_lanes output channels: which of them take the next
// input channels; else it is null.
struct ChannelPlaces {
  const std::int32_t* position;
  const LaneStep* steps;
  std::int64_t c;
};

// A teacher's map of one image, [pixels, c] without padding, as a knowledge pack holds it.
enum class MapType : std::int32_t { float32, float16, int8 };
struct TeacherMap {
  const void* data;
  MapType type;
  float scale;
};

// A map in 16 bits a value: each is its pixel's step times a whole number of up to 32767.
struct CompactMap {
  std::int16_t* values;  // [pixels, stride]
  float* steps;          // [pixels]
};

}  // namespace pyedge
