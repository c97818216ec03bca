// The mask of a map, on every path: a gradient through it is the gradient through the map's values.
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/layers/layers.hpp"
#include "maps.hpp"

using check::Map;
using pyedge::Finish;
using pyedge::KernelTable;
using pyedge::Lens;

namespace {

std::vector<std::uint8_t> mask_of(const Map& map, const Lens& lens) {
  const KernelTable& table = pyedge::kernel_table();
  const auto bytes = static_cast<std::size_t>(map.image() / table.lanes * table.mask_bytes);
  std::vector<std::uint8_t> mask(bytes * static_cast<std::size_t>(map.n), 99);
  for (std::int64_t i = 0; i < map.n; ++i) {
    table.mask_map({map.data() + i * map.image(), map.h, map.w, map.stride, lens},
                   mask.data() + static_cast<std::size_t>(i) * bytes);
  }
  return mask;
}

// The second image's gradient, from the pixel at `first` on.
Map through(const Map& gradient, const Finish& whole, std::int64_t first) {
  Map found = gradient;
  Finish put = whole;
  put.out = found.data(), put.row = found.w * found.stride, put.stride = found.stride;
  put = put.at(gradient.image() + first * found.stride);
  pyedge::kernel_table().finish_region(put, gradient.data(), 1, gradient.h * gradient.w - first,
                                       {0, 0, 1, 1});
  return found;
}

}  // namespace

TEST(mask_map_gives_the_gradient_that_the_values_give) {
  check::on_each_isa([](const std::string& isa) {
    std::mt19937 random(5);
    for (const std::int64_t c : {1, 3, 4, 5, 8, 16, 17, 78, 131}) {
      Map map(2, 5, 3, c, pyedge::kernel_table().lanes), gradient = map;
      map.fill(random), gradient.fill(random);
      std::vector<float> gain = check::by_channel(map, 1.0f, random),
                         shift = check::by_channel(map, 0.5f, random);
      map(1, 0, 2, 0) = -0.0f;
      for (const float high : {__builtin_inff(), 1.0f}) {
        for (const bool scaled : {true, false}) {
          for (const bool accumulate : {true, false}) {
            Lens lens;
            lens.low = 0.0f, lens.high = high;
            if (scaled) lens.scale = gain.data(), lens.shift = shift.data();
            const std::vector<std::uint8_t> mask = mask_of(map, lens);
            Finish by_values, by_mask;
            by_values.base = map.data(), by_values.lens = lens;
            by_mask.mask = mask.data();
            by_values.gain = by_mask.gain = lens.scale;
            by_values.accumulate = by_mask.accumulate = accumulate;
            for (const std::int64_t first : {0, 4}) {
              const Map wanted = through(gradient, by_values, first);
              const Map came = through(gradient, by_mask, first);
              CHECK_AT(came.values == wanted.values, isa);
              CHECK_AT(came.values != gradient.values, isa);
            }
          }
        }
      }
    }
  });
}

// By values a gradient at NaN may be NaN: the finish of a norm adds a multiple of the value, be it
// 0.
TEST(mask_map_keeps_gradients_from_values_that_are_not_finite) {
  check::on_each_isa([](const std::string& isa) {
    std::mt19937 random(6);
    Map map(2, 5, 3, 17, pyedge::kernel_table().lanes), gradient = map;
    map.fill(random), gradient.fill(random);
    map(1, 0, 0, 0) = __builtin_nanf("");
    map(1, 0, 1, 16) = __builtin_inff();
    map(1, 4, 2, 5) = -__builtin_inff();
    for (const float high : {__builtin_inff(), 1.0f}) {
      Lens lens;
      lens.low = 0.0f, lens.high = high;
      const std::vector<std::uint8_t> mask = mask_of(map, lens);
      Finish by_mask;
      by_mask.mask = mask.data();
      const Map came = through(gradient, by_mask, 0);
      CHECK_AT(came.get(1, 0, 0, 0) == 0.0f, isa);
      CHECK_AT(came.get(1, 0, 1, 16) == 0.0f, isa);
      CHECK_AT(came.get(1, 4, 2, 5) == 0.0f, isa);
    }
  });
}
