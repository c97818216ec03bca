// Regions, pools, sums and channel pads on every path, against plain loops in float64.
#include <algorithm>
#include <array>

#include "check.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/layers/layers.hpp"
#include "maps.hpp"

using check::Map;
using check::Sum;
using pyedge::Finish;
using pyedge::ImageView;
using pyedge::Lens;
using pyedge::PoolWindow;

namespace {

// A few roundings of 6e-8, and a mean of some tens of numbers.
constexpr double tolerance = 2e-6;

// One image [h, w, c] and what may be seen of it.
struct Seen {
  Map map;
  std::vector<float> scale, shift;
  std::vector<Lens> lenses;  // none, ReLU, a norm, a norm with ReLU6

  Seen(std::int64_t h, std::int64_t w, std::int64_t c, std::mt19937& random)
      : map(1, h, w, c, pyedge::kernel_table().lanes, pyedge::kernel_table().wide_lanes),
        scale(check::by_channel(map, 1.0f, random)),
        shift(check::by_channel(map, 0.5f, random)),
        lenses(4) {
    map.fill(random);
    lenses[1].low = lenses[3].low = 0.0f;
    lenses[3].high = 1.0f;
    for (const std::size_t i : {2, 3}) {
      lenses[i].scale = scale.data();
      lenses[i].shift = shift.data();
    }
  }
  ImageView view(const Lens& lens) const { return {map.data(), map.h, map.w, map.stride, lens}; }
  double look(const Lens& lens, std::int64_t y, std::int64_t x, std::int64_t k) const {
    return check::look(lens, map.get(0, y, x, k), k);
  }
  Map like(std::int64_t h, std::int64_t w) const {
    return Map(1, h, w, map.c, pyedge::kernel_table().lanes);
  }
};

void near(Sum sum, float came, const std::string& where) {
  sum.size += 1.0;  // a norm's result near 0 has lost more than its own size tells
  CHECK_AT(sum.near(came, tolerance), where);
}

Sum of(double value) {
  return {value, std::abs(value)};
}

// Calls body(seen, lens, where) for channels about the vectors' widths, and each lens.
template <typename Body>
void on_each_view(std::int64_t h, std::int64_t w, const Body& body) {
  check::on_each_isa([&](const std::string& isa) {
    std::mt19937 random(3);
    for (const int c : check::awkward_sizes()) {
      if (c == 0) continue;
      const Seen seen(h, w, c, random);
      for (std::size_t i = 0; i < seen.lenses.size(); ++i) {
        body(seen, seen.lenses[i], isa + " c" + std::to_string(c) + " lens " + std::to_string(i),
             random);
      }
    }
  });
}

const pyedge::KernelTable& table() {
  return pyedge::kernel_table();
}

const std::vector<PoolWindow>& windows() {  // of an image 5 x 6
  static const std::vector<PoolWindow> all{{2, 2, 2, 2, 0, 0, 2, 3}, {3, 3, 1, 1, 1, 1, 5, 6},
                                           {2, 3, 3, 1, 1, 0, 2, 4}, {5, 6, 1, 1, 0, 0, 1, 1},
                                           {1, 1, 2, 3, 0, 0, 3, 2}, {4, 4, 2, 2, 2, 2, 3, 4}};
  return all;
}

// Calls body(y, x) for the pixels of a window that lie in the image.
template <typename Body>
void each_pixel(const PoolWindow& p, const Map& map, std::int64_t oy, std::int64_t ox,
                const Body& body) {
  for (std::int64_t ky = 0; ky < p.kernel_h; ++ky) {
    for (std::int64_t kx = 0; kx < p.kernel_w; ++kx) {
      const std::int64_t y = oy * p.stride_h - p.padding_h + ky;
      const std::int64_t x = ox * p.stride_w - p.padding_w + kx;
      if (y >= 0 && y < map.h && x >= 0 && x < map.w) body(y, x);
    }
  }
}

Finish into(Map& map) {
  return {map.data(), map.w * map.stride, map.stride};
}

}  // namespace

TEST(copy_region_has_zeros_outside_of_the_image) {
  on_each_view(3, 4, [](const Seen& seen, const Lens& lens, const std::string& where, auto&) {
    for (const auto& [top, left, rows, columns] : {std::array<std::int64_t, 4>{0, 0, 3, 4},
                                                   {-2, -1, 7, 6},
                                                   {1, 2, 4, 1},
                                                   {-4, 0, 3, 4},
                                                   {0, -9, 2, 5},
                                                   {2, 7, 2, 3},
                                                   {1, -3, 1, 12}}) {
      Map part = seen.like(rows, columns);
      std::fill(part.values.begin(), part.values.end(), check::canary);
      table().copy_region(
          {seen.map.data(), 3, 4, seen.map.stride, top, left, rows, columns, lens, part.data()});
      // C++17 captures no structured bindings
      part.each([&, row = top, column = left](auto, auto y, auto x, auto k) {
        const std::int64_t from_y = y + row, from_x = x + column;
        const bool inside = from_y >= 0 && from_y < 3 && from_x >= 0 && from_x < 4;
        near(of(inside ? seen.look(lens, from_y, from_x, k) : 0.0), part(0, y, x, k), where);
      });
      CHECK_AT(part.padding_is_zero(), where);
    }
  });
}

TEST(finish_region_does_all_in_its_order) {
  on_each_view(
      5, 7, [](const Seen& seen, const Lens& lens, const std::string& where, std::mt19937& random) {
        // every second row, every third pixel
        const pyedge::PixelGrid grid{1, 0, 2, 3};
        Map values = seen.like(2, 3), residual = seen.like(5, 7), out = seen.like(5, 7);
        values.fill(random);
        residual.fill(random);
        out.fill(random);
        const Map before = out;
        const std::vector<float> bias = check::by_channel(out, 0.0f, random);
        for (int options = 0; options < 16; ++options) {
          out = before;
          Finish finish = into(out);
          if (options & 1) finish.bias = bias.data();
          if (options & 2) finish.residual = residual.data();
          if (options & 2) finish.residual_lens = seen.lenses[3];
          if (options & 4) finish.base = seen.map.data();
          if (options & 4) finish.lens = lens;
          if (options & 4) finish.gain = seen.scale.data();
          if (options & 4) finish.beta = 0.25f;
          finish.accumulate = (options & 8) != 0;
          table().finish_region(finish, values.data(), 2, 3, grid);
          values.each([&](auto, auto y, auto x, auto k) {
            const std::int64_t to_y = 1 + 2 * y, to_x = 3 * x;
            const auto channel = static_cast<std::size_t>(k);
            double value = values(0, y, x, k);
            Sum sum;
            if (options & 4) {
              Lens open = lens;
              open.low = -1e30f;
              open.high = 1e30f;
              const double base = seen.look(open, to_y, to_x, k);
              if (base <= lens.low || base >= lens.high) value = 0.0;
              value *= seen.scale[channel];
              sum.add(0.25 * seen.map.get(0, to_y, to_x, k));
            }
            sum.add(value);
            if (options & 1) sum.add(bias[channel]);
            if (options & 2) {
              sum.add(check::look(seen.lenses[3], residual.get(0, to_y, to_x, k), k));
            }
            if (options & 8) sum.add(before.get(0, to_y, to_x, k));
            near(sum, out(0, to_y, to_x, k), where + " options " + std::to_string(options));
          });
          // nobody else's pixel has changed
          out.each([&](auto, auto y, auto x, auto k) {
            if (y % 2 == 1 && y < 5 && x % 3 == 0) return;
            CHECK_AT(out(0, y, x, k) == before.get(0, y, x, k), where);
          });
        }
      });
}

TEST(add_views_adds_what_each_lens_shows) {
  on_each_view(
      2, 3, [](const Seen& seen, const Lens& lens, const std::string& where, std::mt19937& random) {
        const Seen other(2, 3, seen.map.c, random);
        for (const Lens& second : other.lenses) {
          Map out = seen.like(2, 3);
          table().add_views(seen.view(lens), other.view(second), out.data());
          out.each([&](auto, auto y, auto x, auto k) {
            Sum sum = of(seen.look(lens, y, x, k));
            sum.add(other.look(second, y, x, k));
            near(sum, out(0, y, x, k), where);
          });
          CHECK_AT(out.padding_is_zero(), where);
        }
      });
}

TEST(pools_and_their_gradients) {
  on_each_view(
      5, 6, [](const Seen& seen, const Lens& lens, const std::string& where, std::mt19937& random) {
        for (const PoolWindow& p : windows()) {
          Map average = seen.like(p.out_h, p.out_w), most = average, slope = average;
          slope.fill(random);
          table().average_pool(seen.view(lens), p, average.data());
          table().max_pool(seen.view(lens), p, most.data());
          Map by_average = seen.like(5, 6), by_most = by_average;
          table().average_pool_backward(seen.view(lens), p, slope.data(), by_average.data());
          table().max_pool_backward(seen.view(lens), p, slope.data(), by_most.data());
          std::vector<Sum> to_average(by_average.values.size()), to_most(to_average);
          const double size = static_cast<double>(p.kernel_h * p.kernel_w);
          slope.each([&](auto, auto oy, auto ox, auto k) {
            Sum sum;
            double largest = -1e30;
            std::size_t where_largest = 0;
            each_pixel(p, seen.map, oy, ox, [&](std::int64_t y, std::int64_t x) {
              const double value = seen.look(lens, y, x, k);
              sum.add(value / size);
              to_average[by_average.at(0, y, x, k)].add(slope(0, oy, ox, k) / size);
              if (value > largest)
                where_largest = by_most.at(0, y, x, k);  // the first of equal ones
              largest = std::max(largest, value);
            });
            to_most[where_largest].add(slope(0, oy, ox, k));
            near(sum, average(0, oy, ox, k), where);
            near(of(largest), most(0, oy, ox, k), where);
          });
          by_average.each([&](auto, auto y, auto x, auto k) {
            const std::size_t at = by_average.at(0, y, x, k);
            near(to_average[at], by_average.values[at], where);
            near(to_most[at], by_most.values[at], where);
          });
          CHECK_AT(average.padding_is_zero() && most.padding_is_zero(), where);
        }
      });
}

TEST(average_of_windows_that_tile_the_image) {
  on_each_view(4, 6,
               [](const Seen& seen, const Lens&, const std::string& where, std::mt19937& random) {
                 const PoolWindow p{2, 3, 2, 3, 0, 0, 2, 2};
                 Map slope = seen.like(2, 2), out = seen.like(4, 6);
                 slope.fill(random);
                 table().average_tiles_backward(slope.data(), p, into(out));
                 out.each([&](auto, auto y, auto x, auto k) {
                   near(of(slope(0, y / 2, x / 3, k) / 6.0), out(0, y, x, k), where);
                 });
               });
}

TEST(global_average_and_its_gradient) {
  for (const std::int64_t w : {1, 2, 5}) {
    on_each_view(3, w, [&](const Seen& seen, const Lens& lens, const std::string& where, auto&) {
      Map mean = seen.like(1, 1), spread = seen.like(3, w);
      table().global_average(seen.view(lens), mean.data());
      table().spread_average(mean.data(), 3, w, into(spread));
      for (std::int64_t k = 0; k < seen.map.c; ++k) {
        Sum sum;
        const double pixels = static_cast<double>(3 * w);
        for (std::int64_t p = 0; p < 3 * w; ++p) sum.add(seen.look(lens, p / w, p % w, k) / pixels);
        near(sum, mean(0, 0, 0, k), where);
        near(of(mean(0, 0, 0, k) / pixels), spread(0, 2, w - 1, k), where);
      }
      CHECK_AT(mean.padding_is_zero() && spread.padding_is_zero(), where);
    });
  }
}

TEST(channel_pads_and_their_gradient) {
  on_each_view(
      2, 2, [](const Seen& seen, const Lens& lens, const std::string& where, std::mt19937& random) {
        const std::int64_t c = seen.map.c, channels = c + 5;
        for (const bool rising : {true, false}) {
          std::vector<std::int32_t> position;
          for (std::int64_t k = 0; k < c; ++k) {
            position.push_back(static_cast<std::int32_t>(k + 5 * (k + 1) / (c + 1)));
          }
          if (!rising) std::shuffle(position.begin(), position.end(), random);
          if (!rising && c > 2) position[1] = -1;
          const auto lanes = static_cast<std::int64_t>(table().wide_lanes);
          Map out(1, 2, 2, channels, table().lanes, lanes);
          std::vector<pyedge::LaneStep> steps;
          std::uint32_t next = 0;
          for (std::int64_t first = 0; rising && first < out.stride; first += lanes) {
            pyedge::LaneStep step{next, 0, 0};
            while (next < position.size() && position[next] < first + lanes) {
              step.mask = static_cast<std::uint16_t>(step.mask | 1u << (position[next++] - first));
            }
            steps.push_back(step);
          }
          const pyedge::ChannelPlaces places{position.data(), rising ? steps.data() : nullptr, c};
          std::vector<float> pixel(static_cast<std::size_t>(seen.map.stride + lanes));
          table().pad_channels(seen.view(lens), places, out.data(), out.stride, pixel.data());
          Map slope(1, 2, 2, channels, table().lanes, lanes);
          slope.fill(random);
          Map back(1, 2, 2, c, table().lanes, lanes);
          table().unpad_channels(slope.data(), 4, slope.stride, places, back.data(), back.stride);
          out.each([&](auto, auto y, auto x, auto o) {
            const auto found = std::find(position.begin(), position.end(), o);
            const bool there = found != position.end();
            near(of(there ? seen.look(lens, y, x, found - position.begin()) : 0.0), out(0, y, x, o),
                 where);
          });
          back.each([&](auto, auto y, auto x, auto k) {
            const std::int32_t o = position[static_cast<std::size_t>(k)];
            CHECK_AT(back(0, y, x, k) == (o < 0 ? 0.0f : slope(0, y, x, o)), where);
          });
          CHECK_AT(out.padding_is_zero() && back.padding_is_zero(), where);
        }
      });
}

TEST(channel_sums_and_combine) {
  on_each_view(3, 5,
               [](const Seen& seen, const Lens&, const std::string& where, std::mt19937& random) {
                 Map g = seen.like(3, 5), out = seen.like(3, 5);
                 g.fill(random);
                 const std::int64_t stride = g.stride;
                 std::vector<double> sums(static_cast<std::size_t>(2 * stride));
                 table().channel_sums(g.data(), seen.map.data(), 15, stride, sums.data());
                 const std::vector<float> a = check::by_channel(g, 0.0f, random),
                                          b = check::by_channel(g, 0.0f, random),
                                          d = check::by_channel(g, 0.0f, random);
                 for (const bool accumulate : {false, true}) {
                   const Map before = out;
                   table().combine(g.data(), seen.map.data(), 15, stride, a.data(), b.data(),
                                   d.data(), out.data(), accumulate);
                   out.each([&](auto, auto y, auto x, auto k) {
                     const auto channel = static_cast<std::size_t>(k);
                     Sum sum = of(d[channel]);
                     sum.add(static_cast<double>(g(0, y, x, k)) * a[channel]);
                     sum.add(static_cast<double>(seen.map.get(0, y, x, k)) * b[channel]);
                     if (accumulate) sum.add(before.get(0, y, x, k));
                     near(sum, out(0, y, x, k), where);
                   });
                 }
                 for (std::int64_t k = 0; k < g.c; ++k) {
                   Sum sum, product;
                   for (std::int64_t p = 0; p < 15; ++p) {
                     sum.add(g(0, p / 5, p % 5, k));
                     product.add(static_cast<double>(g(0, p / 5, p % 5, k)) *
                                 seen.map.get(0, p / 5, p % 5, k));
                   }
                   const double came = sums[static_cast<std::size_t>(k)];
                   const double product_came = sums[static_cast<std::size_t>(stride + k)];
                   CHECK_AT(std::abs(came - sum.value) <= 1e-14 * sum.size, where);
                   CHECK_AT(std::abs(product_came - product.value) <= 1e-14 * product.size, where);
                 }
               });
}
