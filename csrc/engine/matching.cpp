// The losses of a batch (paper Sec. 4.1), and J_b's way through the pass: its sums forward, its
// share of the gradients backward.
#include <algorithm>

#include "engine/pass.hpp"

namespace pyedge {
namespace {

// One image's map out of a pack's.
TeacherMap teacher_map(const TeacherMaps& maps, std::int64_t row, std::int64_t size) {
  const std::int64_t element = maps.type == MapType::float32   ? 4
                               : maps.type == MapType::float16 ? 2
                                                               : 1;
  return {static_cast<const char*>(maps.data) + row * size * element, maps.type,
          maps.scales != nullptr ? maps.scales[row] : 1.0f};
}

}  // namespace

ImageWork Pass::match_work(int group) const {
  return [this, group](std::int64_t i, int) { match(group, i); };
}

// One image of the micro-batch.
void Pass::match(int group, std::int64_t i) const {
  const View& tap = network_.program.taps[at(group)];
  const Tensor& t = network_.tensor(tap.tensor);
  const auto image = static_cast<std::size_t>(first_ + i);
  if (knowledge_->mapped != nullptr && !knowledge_->mapped[image]) return;
  MatchSums& sums = sums_[at(group)];
  std::vector<TeacherMap> maps;
  for (const TeacherMaps& block : knowledge_->maps[at(group)]) {
    maps.push_back(teacher_map(block, knowledge_->map_rows[image], t.h * t.w * t.c));
  }
  std::vector<double> found(maps.size());
  table().map_sums(seen(tap, i), maps.data(), static_cast<std::int64_t>(maps.size()), t.c,
                   found.data(), &sums.squares[image]);
  for (std::size_t k = 0; k < found.size(); ++k) {
    sums.dots[k * sums.squares.size() + image] = found[k];
  }
}

StepResult Pass::losses(const Plan& plan) {
  begin(plan, 0);
  StepResult result;
  const int output = network_.program.output.tensor;
  const Tensor& out = network_.tensor(output);
  const float* logits = tensor(output);
  float* slope = gradient(output);
  const std::int64_t n = batch_.n;
  std::fill_n(slope, n * out.stride, 0.0f);
  const double* lambdas = knowledge_->lambdas;
  if (knowledge_->logits != nullptr) {
    result.j1 =
        logits_distance(logits, knowledge_->logits, n, out.c, out.stride, lambdas[0], slope);
  }
  if (knowledge_->labels != nullptr) {
    result.j3 = cross_entropy(logits, knowledge_->labels, n, out.c, out.stride, lambdas[2], slope);
  }
  for (std::size_t i = 0; i < sums_.size(); ++i) {
    matches_.push_back(match_group(sums_[i], knowledge_->norms[i], knowledge_->mapped,
                                   static_cast<std::int64_t>(knowledge_->maps[i].size()), n,
                                   knowledge_->norms_by_image));
    result.jb += matches_.back().distance;
    result.pairs.push_back(matches_.back().best);
  }
  result.loss = lambdas[0] * result.j1 + lambdas[1] * result.jb + lambdas[2] * result.j3;
  by_student_.assign(network_.program.taps.size(), {});
  for (std::size_t i = 0; i < matches_.size(); ++i) {
    for (const float factor : matches_[i].by_student) {
      by_student_[i].push_back(static_cast<float>(lambdas[1]) * factor);
    }
  }
  return result;
}

// J_b's share of a gradient.
ImageWork Pass::match_gradient(const BackwardStep& b) const {
  Finish finish;
  if (!finish_for(b.target[0], network_.program.taps[at(b.index)], finish)) return {};
  const std::int64_t floats = network_.tensor(network_.program.taps[at(b.index)].tensor).image();
  if (knowledge_->maps.empty()) {  // later contributions add to it
    if (finish.accumulate) return {};
    return [=](std::int64_t i, int) { std::fill_n(finish.out + i * floats, floats, 0.0f); };
  }
  finish.betas = nullptr;
  return [this, finish, index = b.index](std::int64_t i, int) {
    const View& tap = network_.program.taps[at(index)];
    const Tensor& t = network_.tensor(tap.tensor);
    const auto k = static_cast<std::size_t>(first_ + i);
    const GroupMatch& match = matches_[at(index)];
    const TeacherMaps& block = knowledge_->maps[at(index)][at(match.best)];
    // where the gradient lies over the values, their share is in it already
    const float by_student = plan_->in_place[at(tap.tensor)] ? 0.0f : by_student_[at(index)][k];
    const float by_teacher = static_cast<float>(knowledge_->lambdas[1]) * match.by_teacher[k];
    table().map_gradient(seen(tap, i), teacher_map(block, knowledge_->map_rows[k], t.h * t.w * t.c),
                         t.c, by_teacher, by_student, finish.at(i * t.image()));
  };
}

}  // namespace pyedge
