// x, or slope x below 0. A step, since a lens has no slopes.
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class LeakyRelu : public Operator {
 public:
  LeakyRelu() : Operator("leaky_relu") {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    slope(node);
    return in[0];
  }

  Rides rides() const override { return Rides::behind_maker; }
  bool reads_values(bool) const override { return true; }
  std::int64_t backward_floats(const StepOf& of) const override { return of.in().image(); }

  void forward(const ImageStep& run) const override {
    float* y = run.pass.result(run);
    see(run, y);
    const float slope_below = slope(run.of.node());
    const std::int64_t floats = run.of.out().image();
    for (std::int64_t i = 0; i < floats; ++i) y[i] = y[i] > 0.0f ? y[i] : slope_below * y[i];
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    float* x = run.scratch;
    see(run, x);
    const float slope_below = slope(run.of.node());
    const Tensor& in = run.of.in();
    const std::int64_t floats = in.image();
    for (std::int64_t i = 0; i < floats; ++i) {
      x[i] = x[i] > 0.0f ? gradient[i] : slope_below * gradient[i];
    }
    run.pass.table().finish_region(put, x, in.h, in.w, {0, 0, 1, 1});
  }

 private:
  static float slope(const Node& node) {
    return static_cast<float>(number(node, "slope", -1e3, 1e3));
  }

  // The input's values.
  static void see(const ImageStep& run, float* values) {
    const ImageView from = run.pass.seen(run.of.step.in[0], run.image);
    run.pass.table().copy_region(
        {from.data, from.h, from.w, from.stride, 0, 0, from.h, from.w, from.lens, values});
  }
};

const LeakyRelu leaky_relu;

}  // namespace

const Operator& leaky_relu_operator = leaky_relu;

}  // namespace pyedge
