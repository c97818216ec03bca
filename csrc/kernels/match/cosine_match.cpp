// Splitting a match over threads, and the few operations on its sums.
#include "kernels/match/cosine_match.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Floats of one teacher in a piece: with four teachers and the student about 1 MB, half an L2.
constexpr std::int64_t piece_floats = 1 << 16;

std::vector<std::int64_t> checked(const std::int64_t* kept, std::int64_t student_channels,
                                  std::int64_t teacher_channels) {
  if (student_channels > teacher_channels) {
    throw std::invalid_argument(
        "ChannelMap: student: wanted up to " + std::to_string(teacher_channels) +
        " channels, as its teacher has, got " + std::to_string(student_channels));
  }
  std::vector<std::int64_t> positions(static_cast<std::size_t>(student_channels));
  std::int64_t at_least = 0;
  for (std::int64_t j = 0; j < student_channels; ++j) {
    const std::int64_t position = kept == nullptr ? j : kept[j];
    if (position < at_least || position >= teacher_channels) {
      throw std::invalid_argument(
          "ChannelMap: kept: wanted positions that rise strictly within [0, " +
          std::to_string(teacher_channels) + "), got " + std::to_string(position) + " at " +
          std::to_string(j));
    }
    positions[static_cast<std::size_t>(j)] = position;
    at_least = position + 1;
  }
  return positions;
}

}  // namespace

ChannelMap::ChannelMap(const std::int64_t* positions, std::int64_t student_channels_,
                       std::int64_t teacher_channels_, const KernelTable& table_)
    : table(table_),
      student_channels(student_channels_),
      teacher_channels(teacher_channels_),
      kept(checked(positions, student_channels_, teacher_channels_)),
      student_channel(static_cast<std::size_t>(teacher_channels_), -1),
      steps(
          static_cast<std::size_t>((teacher_channels_ + table_.wide_lanes - 1) / table_.wide_lanes),
          LaneStep{0, 0, 0}) {
  for (std::size_t j = 0; j < kept.size(); ++j) {
    const auto position = static_cast<std::size_t>(kept[j]);
    student_channel[position] = static_cast<std::int32_t>(j);
    const auto lanes = static_cast<std::size_t>(table.wide_lanes);
    LaneStep& step = steps[position / lanes];
    step.mask = static_cast<std::uint16_t>(step.mask | 1u << position % lanes);
    ++step.count;
  }
  std::uint32_t before = 0;
  for (LaneStep& step : steps) {
    step.student_channel = before;
    before += step.count;
  }
}

MatchPlan::MatchPlan(const Shape& teacher, std::int64_t k)
    : sums_per_piece(2 * k + 1), images(teacher.n) {
  const bool rows = teacher.layout == Layout::nchw;
  const std::int64_t length = rows ? teacher.c : teacher.hw;
  const std::int64_t width = std::max<std::int64_t>(1, rows ? teacher.hw : teacher.c);
  piece_length = std::max<std::int64_t>(1, std::min(length, piece_floats / width));
  pieces_per_image = std::max<std::int64_t>(1, (length + piece_length - 1) / piece_length);
}

void cosine_match(const Shape& teacher, const float* student, const float* const* teachers,
                  std::int64_t k, const ChannelMap& map, const MatchPlan& plan, double* sums) {
  constexpr std::int64_t at_once = 16;  // teachers whose offset pointers fit on the stack
  const bool rows = teacher.layout == Layout::nchw;
  const std::int64_t length = rows ? teacher.c : teacher.hw;
  parallel_for(plan.images * plan.pieces_per_image, [&](std::int64_t item) {
    const std::int64_t image = item / plan.pieces_per_image;
    const std::int64_t first = item % plan.pieces_per_image * plan.piece_length;
    const std::int64_t count = std::min(plan.piece_length, length - first);
    const std::int64_t teacher_at =
        image * image_size(teacher) + first * (rows ? teacher.hw : teacher.c);
    const float* s = student + image * map.student_channels * teacher.hw;
    double* out = sums + item * plan.sums_per_piece;
    for (std::int64_t q = 0; q < k; q += at_once) {
      const std::int64_t some = std::min(at_once, k - q);
      const float* t[at_once];
      for (std::int64_t i = 0; i < some; ++i) t[i] = teachers[q + i] + teacher_at;
      double part[2 * at_once + 1];
      if (rows) {
        map.table.match_rows({s, t, map.student_channel.data() + first, count, teacher.hw,
                              static_cast<std::int32_t>(some)},
                             part);
      } else {
        map.table.match_pixels(
            {s + first * map.student_channels, t, map.steps.data(), map.student_channels,
             map.teacher_channels, count, static_cast<std::int32_t>(some)},
            part);
      }
      std::copy_n(part, some, out + q);
      std::copy_n(part + some, some, out + k + q);
      out[2 * k] = part[2 * some];
    }
  });
  // In a fixed order, on one thread: an image's pieces into its first, then images together.
  for (std::int64_t image = 0; image < plan.images; ++image) {
    const double* pieces = sums + image * plan.pieces_per_image * plan.sums_per_piece;
    double* to = sums + image * plan.sums_per_piece;
    for (std::int64_t i = 0; i < plan.sums_per_piece; ++i) {
      double sum = 0.0;
      for (std::int64_t p = 0; p < plan.pieces_per_image; ++p) {
        sum += pieces[p * plan.sums_per_piece + i];
      }
      to[i] = sum;
    }
  }
}

Match match_from_sums(double dot, double teacher_square, double student_square) {
  const double teacher_norm = std::sqrt(teacher_square);
  const double student_norm = std::sqrt(student_square);
  // The root of the product, not the product of the roots: exactly 1 where all three are equal.
  const double product = std::sqrt(teacher_square * student_square);
  const double cosine = product > 0.0 ? std::max(-1.0, std::min(1.0, dot / product)) : 0.0;
  return {cosine, std::sqrt(2.0 - 2.0 * cosine), teacher_norm, student_norm};
}

GradientFactors gradient_factors(const Match& match, double scale) {
  if (match.distance == 0.0 || match.teacher_norm == 0.0 || match.student_norm == 0.0) {
    return {0.0, 0.0};
  }
  const double factor = scale / (match.distance * match.student_norm);
  return {-factor / match.teacher_norm, factor * match.cosine / match.student_norm};
}

void cosine_match_gradient(const Shape& teacher, const float* student, const float* chosen,
                           const ChannelMap& map, const GradientFactors* factors, float* gradient) {
  const bool rows = teacher.layout == Layout::nchw;
  const std::int64_t length = rows ? map.student_channels : teacher.hw;
  const std::int64_t width = std::max<std::int64_t>(1, rows ? teacher.hw : map.student_channels);
  const std::int64_t piece = std::max<std::int64_t>(1, piece_floats / width);
  const std::int64_t pieces = (length + piece - 1) / piece;
  parallel_for(teacher.n * pieces, [&](std::int64_t item) {
    const std::int64_t image = item / pieces, first = item % pieces * piece;
    const std::int64_t last = std::min(length, first + piece);
    const float* t = chosen + image * image_size(teacher);
    const std::int64_t student_at = image * map.student_channels * teacher.hw;
    if (!rows) {
      const std::int64_t at = student_at + first * map.student_channels;
      map.table.gradient_pixels(t + first * map.teacher_channels, student + at, map.steps.data(),
                                map.student_channels, map.teacher_channels, last - first,
                                factors[image], gradient + at);
      return;
    }
    for (std::int64_t j = first; j < last; ++j) {
      const std::int64_t at = student_at + j * teacher.hw;
      map.table.gradient_row(t + map.kept[static_cast<std::size_t>(j)] * teacher.hw, student + at,
                             teacher.hw, factors[image], gradient + at);
    }
  });
}

}  // namespace pyedge
