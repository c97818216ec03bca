#include "engine/steps/checks.hpp"

#include <stdexcept>

namespace pyedge {

void fail(const Node& node, const std::string& what) {
  throw std::invalid_argument("Engine: node '" + node.name + "' " + what);
}

void want(bool holds, const Node& node, const char* what) {
  if (!holds) fail(node, what);
}

const Array& shaped(const Graph& graph, const Node& node, const std::string& name,
                    const std::vector<std::int64_t>& shape) {
  const auto found = graph.arrays.find(name);
  if (found == graph.arrays.end()) fail(node, "names the array '" + name + "', which is not there");
  if (found->second.shape != shape) {
    std::string wanted;
    for (const std::int64_t size : shape)
      wanted += (wanted.empty() ? "" : ", ") + std::to_string(size);
    fail(node, "wants the array '" + name + "' of shape [" + wanted + "]");
  }
  return found->second;
}

void check_window(const Node& node) {
  for (int axis = 0; axis < 2; ++axis) {
    want(node.kernel[axis] >= 1 && node.kernel[axis] <= 1024, node, "has a bad kernel size");
    want(node.stride[axis] >= 1 && node.stride[axis] <= 1024, node, "has a bad stride");
    want(node.dilation[axis] >= 1 && node.dilation[axis] <= 1024, node, "has a bad dilation");
    want(node.padding[axis] >= 0 && node.padding[axis] <= 1024, node, "has a bad padding");
  }
}

double number(const Node& node, const char* field, double least, double most) {
  const auto found = node.numbers.find(field);
  if (found == node.numbers.end() || !(found->second >= least && found->second <= most)) {
    fail(node, std::string("has a bad ") + field);
  }
  return found->second;
}

std::int64_t slid(const Node& node, std::int64_t size, int axis) {
  const std::int64_t span = (node.kernel[axis] - 1) * node.dilation[axis] + 1;
  const std::int64_t room = size + 2 * node.padding[axis] - span;
  want(room >= 0, node, "has a window larger than its image");
  return room / node.stride[axis] + 1;
}

void want_channels(const Node& node, const Dims& in) {
  want(!in.flat || (in.h == 1 && in.w == 1), node,
       "works by channels, on a flat map of more than one pixel");
}

}  // namespace pyedge
