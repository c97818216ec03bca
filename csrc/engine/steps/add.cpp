// The sum of two maps: a convolution that made one of them adds the other as it writes, where it
// can.
#include "engine/lowering.hpp"
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Add : public Operator {
 public:
  Add() : Operator("add", 2) {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    want(in[0].c == in[1].c && in[0].h == in[1].h && in[0].w == in[1].w && in[0].flat == in[1].flat,
         node, "adds maps of different shapes");
    return in[0];
  }

  View lower(Lowering& lowering, int node) const override {
    const std::vector<int>& from = lowering.graph().nodes[at(node)].inputs;
    for (std::size_t side = 0; side < 2; ++side) {
      if (lowering.add_by_maker(from[side], lowering.view(from[1 - side]))) {
        return lowering.view(from[side]);
      }
    }
    return Operator::lower(lowering, node);
  }

  void forward(const ImageStep& run) const override {
    const Step& step = run.of.step;
    run.pass.table().add_views(run.pass.seen(step.in[0], run.image),
                               run.pass.seen(step.in[1], run.image), run.pass.result(run));
  }
};

}  // namespace

static const Add add;
const Operator& add_operator = add;

}  // namespace pyedge
