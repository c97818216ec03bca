// What each instruction set supplies: one function for each inner loop, all on plain pointers.
// They run on one thread, allocate nothing and never throw; csrc/kernels splits the work.
#pragma once

#include <cstdint>

namespace pyedge {

// One wide vector's worth of teacher channels: which of them the student kept, and where the
// first of those lies among the student's channels.
struct LaneStep {
  std::uint32_t student_channel;
  std::uint16_t mask;
  std::uint16_t count;
};

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
  int wide_lanes;  // teacher channels in one LaneStep

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
};

}  // namespace pyedge
