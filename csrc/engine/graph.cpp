// Checking a graph: every reference, every shape, every number that a size is computed from.
#include "engine/graph.hpp"

#include <stdexcept>

#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

Dims result(const Graph& graph, const Node& node, const std::vector<Dims>& dims) {
  if (node.inputs.size() != node.op->inputs) fail(node, "has a wrong number of inputs");
  std::vector<Dims> in;
  for (const int from : node.inputs) {
    want(from >= 0 && from < static_cast<int>(dims.size()), node,
         "reads a node that is not before it");
    in.push_back(dims[static_cast<std::size_t>(from)]);
  }
  return node.op->shape(graph, node, in);
}

}  // namespace

void Graph::check() {
  if (nodes.empty() || nodes[0].op->inputs != 0) {
    throw std::invalid_argument("Engine: nodes: wanted the input first, got " +
                                (nodes.empty() ? "no nodes" : "node '" + nodes[0].name + "'"));
  }
  for (const std::int64_t size : {input.c, input.h, input.w}) {
    if (size < 1 || size > 1 << 15) {
      throw std::invalid_argument("Engine: input_shape: wanted sizes from 1 to 32768, got " +
                                  std::to_string(size));
    }
  }
  for (const auto& [name, array] : arrays) {
    std::int64_t count = 1;
    for (const std::int64_t size : array.shape) count *= size;
    if (count != static_cast<std::int64_t>(array.values.size())) {
      throw std::invalid_argument("Engine: array '" + name + "': wanted " + std::to_string(count) +
                                  " values, as its shape says, got " +
                                  std::to_string(array.values.size()));
    }
  }
  dims.clear();
  std::map<std::string, int> names, readers;
  for (const Node& node : nodes) {
    if (names[node.name]++ > 0) fail(node, "has the name of another node");
    // each has one layout and one gradient
    for (const std::string& name : {node.weight, node.bias, node.mean, node.variance}) {
      if (!name.empty() && readers[name]++ > 0) {
        fail(node, "names the array '" + name + "', which is read elsewhere already");
      }
    }
    const Dims found = result(*this, node, dims);
    want(found.c <= largest_size && found.h <= largest_size && found.w <= largest_size &&
             found.c * found.h * found.w <= std::int64_t{1} << 32,
         node, "has a map larger than any that could be computed");
    dims.push_back(found);
  }
  const int count = static_cast<int>(nodes.size());
  if (output < 0 || output >= count) {
    throw std::invalid_argument("Engine: output: wanted a node from 0 to " +
                                std::to_string(count - 1) + ", got " + std::to_string(output));
  }
  const Dims& last = dims[static_cast<std::size_t>(output)];
  if (last.h != 1 || last.w != 1) {
    throw std::invalid_argument("Engine: output: wanted logits, one number a class, got maps of " +
                                std::to_string(last.h) + " x " + std::to_string(last.w));
  }
  for (const int tap : taps) {
    if (tap < 0 || tap >= count || dims[static_cast<std::size_t>(tap)].flat) {
      throw std::invalid_argument("Engine: taps: wanted nodes with a map, got " +
                                  std::to_string(tap));
    }
  }
}

}  // namespace pyedge
