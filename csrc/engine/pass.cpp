// Where everything lies while a batch runs.
#include "engine/pass.hpp"

namespace pyedge {

Pass::Pass(Network& network, float* arena, const Preprocessing& preprocessing,
           Statistics statistics, const ImageBatch& batch, const Knowledge* knowledge,
           Watched watched, Profile& profile)
    : network_(network),
      arena_(arena),
      preprocessing_(preprocessing),
      statistics_(statistics),
      batch_(batch),
      knowledge_(knowledge),
      watched_(watched),
      profile_(profile) {
  if (knowledge == nullptr) return;
  const auto n = static_cast<std::size_t>(batch.n);
  for (const std::vector<TeacherMaps>& blocks : knowledge->maps) {
    sums_.push_back({std::vector<double>(blocks.size() * n), std::vector<double>(n)});
  }
}

void Pass::begin(const Plan& plan, std::int64_t first) {
  plan_ = &plan;
  first_ = first;
  back_.assign(network_.program.tensors.size(), false);
}

float* Pass::tensor(int index) const {
  if (back_[at(index)]) return arena_ + plan_->back_at[at(index)];
  const std::int64_t first = plan_->tensor_of_all[at(index)] ? first_ : 0;
  return arena_ + plan_->tensor_at[at(index)] + first * network_.tensor(index).image();
}

float* Pass::gradient(int index) const {
  const std::int64_t first = plan_->gradient_of_all[at(index)] ? first_ : 0;
  return arena_ + plan_->gradient_at[at(index)] + first * network_.tensor(index).image();
}

CompactMap Pass::compact(int index, std::int64_t image) const {
  const Tensor& t = network_.tensor(index);
  float* steps = arena_ + plan_->compact_at[at(index)] + (first_ + image) * compact_floats(t);
  return {reinterpret_cast<std::int16_t*>(steps + t.h * t.w), steps};
}

std::uint8_t* Pass::mask(int index, std::int64_t image) const {
  float* all = arena_ + plan_->mask_at[at(index)];
  return reinterpret_cast<std::uint8_t*>(all) +
         (first_ + image) * mask_bytes(network_.tensor(index), table());
}

Lens Pass::lens(const View& view) const {
  Lens found;
  if (view.norm >= 0) {
    const NormState& norm = network_.norms[at(view.norm)];
    found.scale = norm.scale(statistics_);
    found.shift = norm.shift(statistics_);
  }
  if (view.clamp != Clamp::none) found.low = 0.0f;
  if (view.clamp == Clamp::relu6) found.high = 6.0f;
  return found;
}

ImageView Pass::seen(const View& view, std::int64_t image) const {
  const Tensor& t = network_.tensor(view.tensor);
  return {tensor(view.tensor) + image * t.image(), t.h, t.w, t.stride, lens(view)};
}

void Pass::load() const {
  const Tensor& input = network_.tensor(0);
  load_images(part_of(batch_, first_, plan_->n), preprocessing_, input.c, input.h, input.w,
              input.stride, tensor(0));
}

}  // namespace pyedge
