// Curves, their slopes, and products of maps on every path, against the formulas in float64.
#include <cmath>
#include <functional>

#include "check.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "kernels/layers/activations.hpp"
#include "maps.hpp"

using check::Map;
using pyedge::Activation;
using pyedge::Curve;
using pyedge::ImageView;

namespace {

struct Formula {
  const char* name;
  Curve curve;
  std::function<double(double)> value;
  pyedge::Elu elu = {};

  Activation over(std::int64_t channels) const { return {curve, channels, nullptr, elu}; }
};

double sigmoid(double x) {
  return 1.0 / (1.0 + std::exp(-x));
}

std::function<double(double)> elu(double alpha, double scale, double input_scale) {
  return [=](double x) { return scale * (x > 0.0 ? x : alpha * std::expm1(input_scale * x)); };
}

double hard(double x) {
  return std::fmin(std::fmax(x / 6.0 + 0.5, 0.0), 1.0);
}

const std::vector<Formula>& formulas() {
  static const std::vector<Formula> all{
      {"sigmoid", Curve::sigmoid, sigmoid},
      {"hard_sigmoid", Curve::hard_sigmoid, hard},
      {"silu", Curve::silu, [](double x) { return x * sigmoid(x); }},
      {"hard_swish", Curve::hard_swish, [](double x) { return x * hard(x); }},
      {"gelu", Curve::gelu, [](double x) { return x * std::erfc(-x / std::sqrt(2.0)) / 2.0; }},
      {"gelu_tanh", Curve::gelu_tanh,
       [](double x) { return x * sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x)); }},
      {"mish", Curve::mish, [](double x) { return x * std::tanh(std::log1p(std::exp(x))); }},
      {"elu", Curve::elu, elu(1.0, 1.0, 1.0)},
      {"elu of three numbers", Curve::elu, elu(0.75, 1.5, 0.5), {0.75f, 1.5f, 0.5f}}};
  return all;
}

// Away from where a hard curve bends, or an ELU.
bool smooth_at(double x) {
  return std::abs(std::abs(x) - 3.0) > 1e-3 && std::abs(x) > 1e-3;
}

// body(a map of 3 x 2 whose values go from -12 to 12, where)
void on_each_map(const std::function<void(const Map&, const std::string&)>& body) {
  check::on_each_isa([&](const std::string& isa) {
    std::mt19937 random(5);
    for (const int c : check::awkward_sizes()) {
      if (c == 0) continue;
      Map map(1, 3, 2, c, pyedge::kernel_table().lanes);
      map.fill(random);
      for (float& value : map.values) value *= 4.0f;
      body(map, isa + " c" + std::to_string(c));
    }
  });
}

ImageView plain(const Map& map) {
  return {map.data(), map.h, map.w, map.stride, {}};
}

Map like(const Map& map, std::int64_t h, std::int64_t w) {
  Map made(1, h, w, map.c, pyedge::kernel_table().lanes);
  std::fill(made.values.begin(), made.values.end(), check::canary);
  return made;
}

void near(double wanted, float came, const std::string& where) {
  CHECK_AT(std::abs(wanted - static_cast<double>(came)) <= 1e-6 * (1.0 + std::abs(wanted)), where);
}

}  // namespace

TEST(curves_are_their_formulas_and_leave_padding_zero) {
  on_each_map([](const Map& map, const std::string& where) {
    for (const Formula& f : formulas()) {
      Map out = like(map, map.h, map.w);
      pyedge::kernel_table().activate(f.over(map.c), plain(map), out.data());
      map.each([&](auto i, auto y, auto x, auto k) {
        near(f.value(map.get(i, y, x, k)), out(i, y, x, k), where + " " + f.name);
      });
      CHECK_AT(out.padding_is_zero(), where + " " + f.name);
    }
  });
}

TEST(slopes_of_curves_are_those_of_their_formulas) {
  on_each_map([](const Map& map, const std::string& where) {
    for (const Formula& f : formulas()) {
      Map gradient = like(map, map.h, map.w), out = like(map, map.h, map.w);
      std::fill(gradient.values.begin(), gradient.values.end(), 0.5f);
      pyedge::kernel_table().activation_gradient(f.over(map.c), plain(map), gradient.data(),
                                                 out.data());
      map.each([&](auto i, auto y, auto x, auto k) {
        const double at = map.get(i, y, x, k), step = 1e-5;
        if (!smooth_at(at)) return;
        const double slope = (f.value(at + step) - f.value(at - step)) / (2.0 * step);
        near(0.5 * slope, out(i, y, x, k), where + " " + f.name);
      });
      CHECK_AT(out.padding_is_zero(), where + " " + f.name);
    }
  });
}

TEST(leaky_slopes_are_one_a_channel) {
  on_each_map([](const Map& map, const std::string& where) {
    std::mt19937 random(6);
    const std::vector<float> slopes = check::by_channel(map, 0.2f, random);
    const Activation activation{Curve::leaky, map.c, slopes.data()};
    Map gradient = like(map, map.h, map.w).fill(random), out = like(map, map.h, map.w), back = out;
    pyedge::kernel_table().activate(activation, plain(map), out.data());
    pyedge::kernel_table().activation_gradient(activation, plain(map), gradient.data(),
                                               back.data());
    map.each([&](auto i, auto y, auto x, auto k) {
      const double at = map.get(i, y, x, k);
      const double slope =
          at > 0.0 ? 1.0 : static_cast<double>(slopes[static_cast<std::size_t>(k)]);
      near(at * slope, out(i, y, x, k), where);
      near(gradient(i, y, x, k) * slope, back(i, y, x, k), where);
    });
    CHECK_AT(out.padding_is_zero(), where);
  });
}

TEST(curves_far_from_zero_stay_finite) {
  check::on_each_isa([](const std::string& isa) {
    const int lanes = pyedge::kernel_table().lanes;
    Map map(1, 1, 4, lanes, lanes);
    const float far[] = {-3e4f, -100.0f, 100.0f, 3e4f};
    map.each([&](auto i, auto y, auto x, auto k) { map(i, y, x, k) = far[x]; });
    for (const Formula& f : formulas()) {
      Map out = like(map, 1, 4);
      pyedge::kernel_table().activate(f.over(map.c), plain(map), out.data());
      map.each([&](auto i, auto y, auto x, auto k) {
        near(f.value(far[x]), out(i, y, x, k), isa + " " + f.name);
      });
    }
  });
}

TEST(elu_close_to_zero_is_exact_to_a_part_of_itself) {
  check::on_each_isa([](const std::string& isa) {
    const int lanes = pyedge::kernel_table().lanes;
    Map map(1, 1, 4, lanes, lanes);
    const float close[] = {-1e-7f, -1e-4f, -1e-2f, -0.3f};
    map.each([&](auto i, auto y, auto x, auto k) { map(i, y, x, k) = close[x]; });
    Map out = like(map, 1, 4);
    pyedge::kernel_table().activate({Curve::elu, map.c}, plain(map), out.data());
    map.each([&](auto i, auto y, auto x, auto k) {
      const double wanted = std::expm1(static_cast<double>(close[x]));
      CHECK_AT(std::abs(static_cast<double>(out(i, y, x, k)) - wanted) <= -4e-7 * wanted, isa);
    });
  });
}

TEST(products_of_maps_and_of_a_gate) {
  on_each_map([](const Map& map, const std::string& where) {
    std::mt19937 random(7);
    Map other = like(map, map.h, map.w), gate = like(map, 1, 1), out = like(map, map.h, map.w);
    for (Map* each : {&other, &gate}) {
      std::fill(each->values.begin(), each->values.end(), 0.0f);
      each->fill(random);
    }
    pyedge::kernel_table().multiply_views(plain(map), plain(other), out.data());
    map.each([&](auto i, auto y, auto x, auto k) {
      near(static_cast<double>(map.get(i, y, x, k)) * other(i, y, x, k), out(i, y, x, k), where);
    });
    pyedge::kernel_table().multiply_views(plain(map), plain(gate), out.data());
    map.each([&](auto i, auto y, auto x, auto k) {
      near(static_cast<double>(map.get(i, y, x, k)) * gate(0, 0, 0, k), out(i, y, x, k), where);
    });
    CHECK_AT(out.padding_is_zero(), where);

    Map sums = like(map, 1, 1);
    pyedge::kernel_table().pixel_products(plain(map), other.data(), sums.data());
    for (std::int64_t k = 0; k < map.c; ++k) {
      check::Sum sum;
      for (std::int64_t y = 0; y < map.h; ++y) {
        for (std::int64_t x = 0; x < map.w; ++x) {
          sum.add(static_cast<double>(map.get(0, y, x, k)) * other(0, y, x, k));
        }
      }
      CHECK_AT(sum.near(sums(0, 0, 0, k), 1e-6), where);
    }
    CHECK_AT(sums.padding_is_zero(), where);
  });
}
