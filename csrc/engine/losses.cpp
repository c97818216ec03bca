// J_1, J_b and J_3 (paper Sec. 4.1; the formula of J_3 lacks its minus sign there).
#include "engine/losses.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/match/cosine_match.hpp"

namespace pyedge {

double logits_distance(const float* student, const float* teacher, std::int64_t n,
                       std::int64_t classes, std::int64_t stride, double weight, float* gradient) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t c = 0; c < classes; ++c) {
      const double d = static_cast<double>(student[i * stride + c]) - teacher[i * classes + c];
      sum += d * d;
    }
  }
  const double count = static_cast<double>(n * classes), value = std::sqrt(sum / count);
  if (value == 0.0) return value;  // the gradient has no direction there
  const double slope = weight / (value * count);
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t c = 0; c < classes; ++c) {
      const double d = static_cast<double>(student[i * stride + c]) - teacher[i * classes + c];
      gradient[i * stride + c] += static_cast<float>(slope * d);
    }
  }
  return value;
}

double cross_entropy(const float* student, const std::int64_t* labels, std::int64_t n,
                     std::int64_t classes, std::int64_t stride, double weight, float* gradient) {
  double total = 0.0;
  const double share = weight / static_cast<double>(n);
  for (std::int64_t i = 0; i < n; ++i) {
    const float* x = student + i * stride;
    const double most = *std::max_element(x, x + classes);
    double sum = 0.0;
    for (std::int64_t c = 0; c < classes; ++c) sum += std::exp(x[c] - most);
    total += std::log(sum) + most - x[labels[i]];
    for (std::int64_t c = 0; c < classes; ++c) {
      const double p = std::exp(x[c] - most) / sum;
      gradient[i * stride + c] += static_cast<float>(share * (p - (c == labels[i] ? 1.0 : 0.0)));
    }
  }
  return total / static_cast<double>(n);
}

namespace {

// What is not finite makes the loss not finite, so that a step can say so.
Match finite_match(double dot, double teacher_square, double student_square) {
  if (std::isfinite(dot) && std::isfinite(teacher_square) && std::isfinite(student_square)) {
    return match_from_sums(dot, teacher_square, student_square);
  }
  const double none = std::numeric_limits<double>::quiet_NaN();
  return {none, none, 0.0, 0.0};
}

bool is_mapped(const bool* mapped, std::int64_t image) {
  return mapped == nullptr || mapped[image];
}

double sum_of(const double* values, const bool* mapped, std::int64_t count) {
  double total = 0.0;
  for (std::int64_t i = 0; i < count; ++i) {
    if (is_mapped(mapped, i)) total += values[i];
  }
  return total;
}

}  // namespace

GroupMatch match_group(const MatchSums& sums, const double* norms, const bool* mapped,
                       std::int64_t blocks, std::int64_t n, bool by_image) {
  // where what is compared begins: the whole batch, or each image that has maps
  std::vector<std::int64_t> parts;
  for (std::int64_t i = 0; i < (by_image ? n : 1); ++i) {
    if (!by_image || is_mapped(mapped, i)) parts.push_back(i);
  }
  const std::int64_t length = by_image ? 1 : n;
  std::vector<Match> pairs;
  GroupMatch match{0.0, 0, {}, {}};
  double best = -2.0 * static_cast<double>(parts.size());
  for (std::int64_t k = 0; k < blocks; ++k) {
    std::vector<Match> found;
    double cosine = 0.0;
    for (const std::int64_t part : parts) {
      const std::int64_t first = k * n + part;
      const bool* here = mapped == nullptr ? nullptr : mapped + part;
      found.push_back(finite_match(sum_of(sums.dots.data() + first, here, length),
                                   sum_of(norms + first, here, length),
                                   sum_of(sums.squares.data() + part, here, length)));
      cosine += found.back().cosine;
    }
    if (k == 0 || cosine > best || std::isnan(cosine)) {
      best = cosine;
      match.best = static_cast<int>(k);
      pairs = std::move(found);
    }
  }
  const double share = 1.0 / static_cast<double>(parts.size());
  std::size_t pair = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    GradientFactors factors{0.0, 0.0};
    if (is_mapped(mapped, i)) factors = gradient_factors(pairs[by_image ? pair++ : 0], share);
    match.by_teacher.push_back(static_cast<float>(factors.teacher));
    match.by_student.push_back(static_cast<float>(factors.student));
  }
  for (const Match& p : pairs) match.distance += share * p.distance;
  return match;
}

}  // namespace pyedge
