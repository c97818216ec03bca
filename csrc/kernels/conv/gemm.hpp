// Matrix products as the engine needs them: rows of pixels against packed weights, and channels of
// pixels against channels of pixels. Plain structs; the loops are in gemm.simd.hpp.
#pragma once

#include <cstdint>

namespace pyedge {

// c[line, m, n] (+)= sum over taps and k of a[line, m, tap, k] * b[tap, k, n], where
// a[line, m, tap, k] lies at a + line * a_line + m * a_step + tap_offsets[tap] + k and
// c[line, m, :] at c + line * c_line + m * c_step. A convolution's line is a row of output pixels.
// b is packed: panels of tile_vectors vectors of n (the last may be narrower), each [taps, k, n].
struct PixelGemm {
  const float* a;
  const float* b;
  float* c;
  const std::int64_t* tap_offsets;
  std::int64_t lines, a_line, c_line;
  std::int64_t rows, a_step, c_step;  // rows: m of each line
  std::int64_t taps, k;
  std::int64_t vectors;  // n in vectors
  bool accumulate;
  bool scaled;  // in 8 bits: a factor lies behind the k of each row of a, of one tap
};

// c[m, n] (+)= sum over images, runs and i of a[image, run, i, m] * b[image, run, i, n], where
// a[image, run, i, m] lies at a + image * a_image + run * a_run + i * a_step + m, and b likewise.
// Reads up to 3 floats beyond a's last m.
struct ChannelGemm {
  const float* a;
  const float* b;
  float* c;
  std::int64_t images, a_image, b_image;
  std::int64_t runs, a_run, b_run;
  std::int64_t length, a_step, b_step;
  std::int64_t rows, c_step;  // rows: m
  std::int64_t vectors;       // n in vectors
  bool accumulate;
};

}  // namespace pyedge
