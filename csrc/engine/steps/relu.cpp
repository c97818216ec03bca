// ReLU and ReLU6: no steps, but what the readers of a tensor clamp it to.
#include "engine/lowering.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Relu : public Operator {
 public:
  Relu(const char* own_name, Clamp clamp) : Operator(own_name), clamp_(clamp) {}

  Dims shape(const Graph&, const Node&, const std::vector<Dims>& in) const override {
    return in[0];
  }

  // The smallest range counts: of a ReLU6's result a ReLU changes nothing.
  View lower(Lowering& lowering, int node) const override {
    View view = lowering.view(lowering.graph().nodes[at(node)].inputs[0]);
    if (view.clamp != Clamp::relu6) view.clamp = clamp_;
    return view;
  }

 private:
  Clamp clamp_;
};

}  // namespace

static const Relu relu("relu", Clamp::relu);
const Operator& relu_operator = relu;
static const Relu relu6("relu6", Clamp::relu6);
const Operator& relu6_operator = relu6;

}  // namespace pyedge
