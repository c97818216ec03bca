// The losses of Sec. 4.1 and their gradients. Sums in float64.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/layers/layers.hpp"

namespace pyedge {

// A group's candidate blocks: maps [rows, h w c] of one type, with a scale for each row or none.
struct TeacherMaps {
  const void* data;
  MapType type;
  const float* scales;
};

struct Knowledge {
  const std::int64_t* labels = nullptr;        // [n]
  const float* logits = nullptr;               // [n, classes]
  std::vector<std::vector<TeacherMaps>> maps;  // by group and block
  std::vector<const double*> norms;            // by group: [blocks, n], squared, of the full width
  const std::int64_t* map_rows = nullptr;      // [n]
  const bool* mapped = nullptr;                // [n], false: no maps, J_b passes over; null: all
  double lambdas[3] = {1.0, 10.0, 1.0};
  bool norms_by_image = false;
};

// J_1, the root mean square of student - teacher, and J_3, the mean cross entropy. Adds their
// weighted gradients to `gradient` [n, stride]; values are [n, stride].
double logits_distance(const float* student, const float* teacher, std::int64_t n,
                       std::int64_t classes, std::int64_t stride, double weight, float* gradient);
double cross_entropy(const float* student, const std::int64_t* labels, std::int64_t n,
                     std::int64_t classes, std::int64_t stride, double weight, float* gradient);

// How one group matched: J_b to the best block, and for each image the factors of
// gradient = by_teacher * t + by_student * s.
struct GroupMatch {
  double distance;
  int best;
  std::vector<float> by_teacher, by_student;
};

// Of a group: dots [blocks, n] of student and teacher, squares [n] of the student.
struct MatchSums {
  std::vector<double> dots, squares;
};

// norms [blocks, n], squared. Images that are not `mapped` (null: all are) have no share in it, and
// factors of 0.
GroupMatch match_group(const MatchSums& sums, const double* norms, const bool* mapped,
                       std::int64_t blocks, std::int64_t n, bool by_image);

}  // namespace pyedge
