// What each instruction set supplies: one function for each inner loop, all on plain pointers.
// They run on one thread, allocate nothing and never throw; csrc/kernels splits the work.
#pragma once

#include <cstdint>

#include "kernels/conv/depthwise.hpp"
#include "kernels/conv/gemm.hpp"
#include "kernels/conv/region.hpp"
#include "kernels/layers/activations.hpp"
#include "kernels/layers/layers.hpp"
#include "kernels/sums/moment_panels.hpp"

namespace pyedge {

// One piece of a group's match. Teachers, and the student where it applies, are already offset
// to the piece. Sums go out as [dot of each teacher, squared norm of each teacher, squared norm
// of the student].
struct MatchRows {  // NCHW: `channels` teacher rows of `hw` floats
  const float* student;
  const float* const* teachers;
  const std::int32_t* student_channel;  // for each teacher row its student row, or -1
  std::int64_t channels;
  std::int64_t hw;
  std::int32_t teacher_count;
};

struct MatchPixels {  // channels-last: `pixels` rows of channels
  const float* student;
  const float* const* teachers;
  const LaneStep* steps;
  std::int64_t student_channels;
  std::int64_t teacher_channels;
  std::int64_t pixels;
  std::int32_t teacher_count;
};

// The gradient of J_b is teacher_factor * t + student_factor * s, in float64 because the two
// terms cancel as the cosine nears 1.
struct GradientFactors {
  double teacher;
  double student;
};

struct KernelTable {
  const char* name;
  int wide_lanes;    // teacher channels in one LaneStep
  int lanes;         // floats in a vector: the engine pads a pixel's channels to whole vectors
  int mask_bytes;    // of the bits of a vector
  int tile_vectors;  // vectors in a panel of packed weights

  float (*plain_sum)(const float* x, std::int64_t count);

  // rows of hw floats -> counts[row]
  void (*zero_count_rows)(const float* x, std::int64_t rows, std::int64_t hw, std::int32_t* counts);
  void (*zero_count_affine_rows)(const float* x, std::int64_t rows, std::int64_t hw,
                                 const float* scale, const float* shift, std::int32_t* counts);
  // pixels of `channels` floats, `stride` apart -> counts[channel]
  void (*zero_count_pixels)(const float* x, std::int64_t pixels, std::int64_t stride,
                            std::int64_t channels, std::int32_t* counts);
  void (*zero_count_affine_pixels)(const float* x, std::int64_t pixels, std::int64_t stride,
                                   std::int64_t channels, const float* scale, const float* shift,
                                   std::int32_t* counts);

  void (*match_rows)(const MatchRows& piece, double* sums);
  void (*match_pixels)(const MatchPixels& piece, double* sums);

  // count floats of t and s -> gradient
  void (*gradient_row)(const float* teacher, const float* student, std::int64_t count,
                       GradientFactors factors, float* gradient);
  void (*gradient_pixels)(const float* teacher, const float* student, const LaneStep* steps,
                          std::int64_t student_channels, std::int64_t teacher_channels,
                          std::int64_t pixels, GradientFactors factors, float* gradient);

  // see second_moments.simd.hpp
  int moment_columns;  // of a panel
  void (*pack_moments)(const std::int32_t* values, std::int64_t rows, std::int64_t f,
                       std::int64_t count, double* panel);
  void (*add_moments)(const MomentPanels& panels);

  // The engine's: see gemm.simd.hpp, region.simd.hpp, winograd.simd.hpp, layers.simd.hpp,
  // match_map.simd.hpp, compact_map.simd.hpp, mask_map.simd.hpp, each on one image or less.
  void (*gemm_pixels)(const PixelGemm& g);
  void (*gemm_channels)(const ChannelGemm& g);
  void (*depthwise)(const DepthwiseBand& band, const DepthwiseWindow& window, const Finish& finish);
  void (*depthwise_input_gradient)(const DepthwiseGradient& gradient, const DepthwiseWindow& window,
                                   std::int64_t first, std::int64_t rows, const Finish& finish);
  void (*depthwise_weight_gradient)(const DepthwiseBand& band, const DepthwiseWindow& window,
                                    const float* gradient, float* sums);
  void (*copy_region)(const Region& region);
  void (*finish_region)(const Finish& finish, const float* values, std::int64_t rows,
                        std::int64_t columns, const PixelGrid& grid);
  void (*winograd_input)(const float* from, std::int64_t row, std::int64_t stride,
                         std::int64_t tiles, float* to, std::int64_t position);
  void (*winograd_gradient)(const float* from, std::int64_t row, std::int64_t stride,
                            std::int64_t channels, std::int64_t tiles, float* to,
                            std::int64_t position);
  void (*winograd_output)(const float* products, std::int64_t position, std::int64_t tiles,
                          std::int64_t channels, const Finish& finish, std::int64_t h,
                          std::int64_t w, std::int64_t top);
  void (*winograd_weights)(const float* weights, std::int64_t k, std::int64_t n, float* to);
  void (*winograd_weight_gradient)(const float* products, std::int64_t position,
                                   std::int64_t floats, float* gradient, std::int64_t tap);
  void (*add_views)(const ImageView& a, const ImageView& b, float* out);
  void (*activate)(const Activation& activation, const ImageView& image, float* out);
  void (*activation_gradient)(const Activation& activation, const ImageView& image,
                              const float* gradient, float* out);
  void (*multiply_views)(const ImageView& image, const ImageView& factor, float* out);
  void (*pixel_products)(const ImageView& image, const float* gradient, float* sums);
  void (*average_pool)(const ImageView& image, const PoolWindow& window, float* out);
  void (*max_pool)(const ImageView& image, const PoolWindow& window, float* out);
  void (*average_pool_backward)(const ImageView& image, const PoolWindow& window, const float* from,
                                float* gradient);
  void (*max_pool_backward)(const ImageView& image, const PoolWindow& window, const float* from,
                            float* gradient);
  void (*global_average)(const ImageView& image, float* out);
  void (*spread_average)(const float* gradient, std::int64_t h, std::int64_t w,
                         const Finish& finish);
  void (*pad_channels)(const ImageView& image, const ChannelPlaces& places, float* out,
                       std::int64_t out_stride, float* buffer);
  void (*unpad_channels)(const float* gradient, std::int64_t pixels, std::int64_t out_stride,
                         const ChannelPlaces& places, float* values, std::int64_t stride);
  void (*average_tiles_backward)(const float* from, const PoolWindow& window, const Finish& finish);
  void (*channel_sums)(const float* a, const float* b, std::int64_t pixels, std::int64_t stride,
                       double* sums);
  void (*combine)(const float* g, const float* x, std::int64_t pixels, std::int64_t stride,
                  const float* by_gradient, const float* by_map, const float* constant, float* out,
                  bool accumulate);
  void (*map_sums)(const ImageView& student, const TeacherMap* teachers, std::int64_t blocks,
                   std::int64_t c, double* dots, double* square);
  void (*compact_map)(const ImageView& image, const CompactMap& to);
  void (*restore_map)(const CompactMap& from, std::int64_t pixels, std::int64_t stride, float* map);
  void (*mask_map)(const ImageView& image, std::uint8_t* to);
  void (*map_gradient)(const ImageView& student, const TeacherMap& teacher, std::int64_t c,
                       float by_teacher, float by_student, const Finish& finish);
};

}  // namespace pyedge
