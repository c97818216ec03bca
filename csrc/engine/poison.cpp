#include "engine/poison.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace pyedge {

bool poisons_arena() {
  static const bool on = [] {
    const char* said = std::getenv("PYEDGE_POISON_ARENA");
    return said != nullptr && std::string(said) != "0" && *said != 0;
  }();
  return on;
}

void poison(const Plan& plan, int time, float* arena) {
  std::vector<std::pair<std::int64_t, std::int64_t>> kept;  // begin, end
  for (const Placed& each : plan.placed) {
    if (each.life.first < time && time <= each.life.last) {
      kept.emplace_back(each.at, each.at + padded_floats(each.life.floats));
    }
  }
  std::sort(kept.begin(), kept.end());
  kept.emplace_back(plan.floats, plan.floats);
  std::int64_t from = plan.shared_floats;
  for (const auto& [begin, end] : kept) {
    if (from < begin) {
      std::fill(arena + from, arena + begin, std::numeric_limits<float>::quiet_NaN());
    }
    from = std::max(from, end);
  }
}

}  // namespace pyedge
