// The images: tensor 0.
#include "engine/lowering.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Input : public Operator {
 public:
  Input() : Operator("input", 0) {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>&) const override {
    want(&node == &graph.nodes[0], node, "is an input, but not the first node");
    return graph.input;
  }

  View lower(Lowering& lowering, int node) const override {
    return {lowering.new_tensor(lowering.graph().dims[at(node)]), -1, Clamp::none};
  }
};

}  // namespace

static const Input input;
const Operator& input_operator = input;

}  // namespace pyedge
