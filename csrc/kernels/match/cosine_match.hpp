// Matching a student's feature map with each candidate teacher's of its group (paper Sec. 4,
// Eq. 3 and 4), and the gradient of J_b for the pair that was chosen.
//
// The paper pads the student's maps with zero channels to the teacher's width. Those zeros never
// exist here: with `kept` the teacher channels that the student's channels face,
//   cos = <t[kept], s> / (|t| |s|),   J_b = | t/|t| - s/|s| | = sqrt(2 - 2 cos),
//   dJ_b/ds = -(t/|t| - cos s/|s|) / (J_b |s|).
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/dispatch/kernel_table.hpp"
#include "kernels/match/maps.hpp"

namespace pyedge {

// Which teacher channels the student's channels face, in the form the kernels read. Built once
// for a group, outside the kernels.
class ChannelMap {
 public:
  // kept [student_channels]: strictly increasing, within [0, teacher_channels); nullptr: the
  // first ones. Throws std::invalid_argument otherwise.
  ChannelMap(const std::int64_t* kept, std::int64_t student_channels, std::int64_t teacher_channels,
             const KernelTable& table);

  const KernelTable& table;
  const std::int64_t student_channels, teacher_channels;
  std::vector<std::int64_t> kept;             // [student_channels]
  std::vector<std::int32_t> student_channel;  // [teacher_channels]: its student channel, or -1
  std::vector<LaneStep> steps;                // the same, a wide vector at a time
};

// The pieces that the sums of a match are taken over. They depend on the shape alone, never on
// the number of threads: hence the same bits from any number.
struct MatchPlan {
  // n images of teacher_channels x hw against k teachers.
  MatchPlan(const Shape& teacher, std::int64_t k);

  std::int64_t piece_length;      // teacher channels (NCHW) or pixels (channels-last)
  std::int64_t pieces_per_image;  // at least 1
  std::int64_t sums_per_piece;    // 2 k + 1
  std::int64_t sums() const { return images * pieces_per_image * sums_per_piece; }
  std::int64_t images;
};

// student [n, c_s, hw], teachers k x [n, c_t, hw], all in teacher.layout.
// Leaves in sums[image * (2 k + 1) ...], for each image, t.s of each teacher, t.t of each
// teacher and s.s; sums has room for plan.sums(). A sum that is not finite tells of a NaN or an
// infinity in the maps, and of nothing else: no sum of squared floats overflows a double.
void cosine_match(const Shape& teacher, const float* student, const float* const* teachers,
                  std::int64_t k, const ChannelMap& map, const MatchPlan& plan, double* sums);

struct Match {
  double cosine, distance, teacher_norm, student_norm;
};

// From the three sums. A zero map has no direction: its cosine is 0 and its distance sqrt(2).
Match match_from_sums(double dot, double teacher_square, double student_square);

// What the gradient of scale * J_b takes of t and of s. Both 0 at distance 0, where the gradient
// has no direction, and for a zero map, whose distance does not change.
GradientFactors gradient_factors(const Match& match, double scale);

// factors [n] -> gradient [n, c_s, hw] in the student's layout.
void cosine_match_gradient(const Shape& teacher, const float* student, const float* chosen,
                           const ChannelMap& map, const GradientFactors* factors, float* gradient);

}  // namespace pyedge
