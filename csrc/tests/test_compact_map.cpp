// The 16-bit copy of a map, on every path: near the map, and on the same side of every ReLU's bend.
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/layers/layers.hpp"
#include "maps.hpp"

using check::Map;
using pyedge::CompactMap;
using pyedge::Lens;

namespace {

struct Copy {
  std::vector<std::int16_t> values;
  std::vector<float> steps, restored;

  Copy(const Map& map, const Lens& lens)
      : values(static_cast<std::size_t>(map.h * map.w * map.stride), 99),
        steps(static_cast<std::size_t>(map.h * map.w), 99.0f),
        restored(values.size(), 99.0f) {
    const CompactMap copy{values.data(), steps.data()};
    const pyedge::KernelTable& table = pyedge::kernel_table();
    table.compact_map({map.data(), map.h, map.w, map.stride, lens}, copy);
    table.restore_map(copy, map.h * map.w, map.stride, restored.data());
  }
  float at(const Map& map, std::int64_t y, std::int64_t x, std::int64_t c) const {
    return restored[static_cast<std::size_t>((y * map.w + x) * map.stride + c)];
  }
  float step(const Map& map, std::int64_t y, std::int64_t x) const {
    return steps[static_cast<std::size_t>(y * map.w + x)];
  }
};

// Fused as the vector paths fuse it, or not as the reference path does not.
bool on(float x, float gain, float shift, bool fused) {
  return (fused ? std::fma(x, gain, shift) : x * gain + shift) > 0.0f;
}

}  // namespace

TEST(compact_map_is_near_and_keeps_the_sides_of_a_relu) {
  check::on_each_isa([](const std::string& isa) {
    const bool fused = isa != "reference";
    std::mt19937 random(3);
    std::normal_distribution<float> normal;
    for (const std::int64_t c : {1, 5, 16, 78, 131}) {
      Map map(1, 9, 7, c, pyedge::kernel_table().lanes);
      map.fill(random);
      std::vector<float> gain = check::by_channel(map, 1.0f, random),
                         shift = check::by_channel(map, 0.0f, random);
      if (c > 2) gain[1] = -gain[1], gain[2] = 0.0f;
      // half of the values a hair from the bend, where a copy in 16 bits would cross it
      map.each([&](auto i, auto y, auto x, auto k) {
        const auto channel = static_cast<std::size_t>(k);
        if (random() % 2 == 0 && gain[channel] != 0.0f) {
          map(i, y, x, k) = -shift[channel] / gain[channel] * (1.0f + 1e-6f * normal(random));
        }
      });
      Lens lens;
      lens.scale = gain.data();
      lens.shift = shift.data();
      lens.low = 0.0f;
      const Copy plain(map, {}), seen(map, lens);
      int crossed = 0;
      map.each([&](auto i, auto y, auto x, auto k) {
        const auto channel = static_cast<std::size_t>(k);
        const float value = map(i, y, x, k), step = seen.step(map, y, x);
        CHECK_AT(std::abs(plain.at(map, y, x, k) - value) <= 0.51f * step, isa);
        CHECK_AT(std::abs(seen.at(map, y, x, k) - value) <= 1.51f * step, isa);
        const bool side = on(value, gain[channel], shift[channel], fused);
        CHECK_AT(on(seen.at(map, y, x, k), gain[channel], shift[channel], fused) == side, isa);
        crossed += on(plain.at(map, y, x, k), gain[channel], shift[channel], fused) != side;
      });
      CHECK_AT(crossed > 0 || c == 1, isa);  // or the case is too easy; one channel is exact
      Lens relu;
      relu.low = 0.0f;
      const Copy clamped(map, relu);
      map.each([&](auto i, auto y, auto x, auto k) {
        CHECK_AT((clamped.at(map, y, x, k) > 0.0f) == (map(i, y, x, k) > 0.0f), isa);
      });
    }
  });
}

TEST(compact_map_of_zeros_and_of_the_smallest_numbers) {
  check::on_each_isa([](const std::string& isa) {
    Map map(1, 2, 1, 20, pyedge::kernel_table().lanes);
    map(0, 1, 0, 3) = 1e-38f;
    const Copy copy(map, {});
    map.each([&](auto, auto y, auto x, auto k) { CHECK_AT(copy.at(map, y, x, k) == 0.0f, isa); });
  });
}
