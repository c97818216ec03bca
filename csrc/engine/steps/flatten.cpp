// Flatten: no step, since a linear layer reads a map as it lies.
#include "engine/lowering.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Flatten : public Operator {
 public:
  Flatten() : Operator("flatten") {}

  Dims shape(const Graph&, const Node&, const std::vector<Dims>& in) const override {
    return {in[0].c, in[0].h, in[0].w, true};
  }

  View lower(Lowering& lowering, int node) const override {
    return lowering.view(lowering.graph().nodes[at(node)].inputs[0]);
  }
};

}  // namespace

static const Flatten flatten;
const Operator& flatten_operator = flatten;

}  // namespace pyedge
