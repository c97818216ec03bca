// The mean of each channel.
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class GlobalAvgPool : public Operator {
 public:
  GlobalAvgPool() : Operator("global_avg_pool") {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    want(!in[0].flat, node, "pools a flat map");
    return {in[0].c, 1, 1};
  }

  Rides rides() const override { return Rides::behind_maker; }
  bool writes_over(const StepOf&) const override { return true; }

  void forward(const ImageStep& run) const override {
    run.pass.table().global_average(run.pass.seen(run.of.step.in[0], run.image),
                                    run.pass.result(run));
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    run.pass.table().spread_average(gradient, run.of.in().h, run.of.in().w, put);
  }
};

}  // namespace

static const GlobalAvgPool global_avg_pool;
const Operator& global_avg_pool_operator = global_avg_pool;

}  // namespace pyedge
