// Checking a graph: every reference, every shape, every number that a size is computed from.
#include "engine/graph.hpp"

#include <cmath>
#include <stdexcept>

namespace pyedge {
namespace {

// Larger than any image or layer that fits a phone, small enough that no product overflows.
constexpr std::int64_t largest = 1 << 20;

[[noreturn]] void fail(const Node& node, const std::string& what) {
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

std::int64_t slid(const Node& node, std::int64_t size, int axis) {
  const std::int64_t span = (node.kernel[axis] - 1) * node.dilation[axis] + 1;
  const std::int64_t room = size + 2 * node.padding[axis] - span;
  want(room >= 0, node, "has a window larger than its image");
  return room / node.stride[axis] + 1;
}

void check_window(const Node& node) {
  for (int axis = 0; axis < 2; ++axis) {
    want(node.kernel[axis] >= 1 && node.kernel[axis] <= 1024, node, "has a bad kernel size");
    want(node.stride[axis] >= 1 && node.stride[axis] <= 1024, node, "has a bad stride");
    want(node.dilation[axis] >= 1 && node.dilation[axis] <= 1024, node, "has a bad dilation");
    want(node.padding[axis] >= 0 && node.padding[axis] <= 1024, node, "has a bad padding");
  }
}

Dims conv2d(const Graph& graph, const Node& node, const Dims& in) {
  want(!in.flat, node, "is a convolution after flatten");
  check_window(node);
  const auto found = graph.arrays.find(node.weight);
  want(found != graph.arrays.end() && found->second.shape.size() == 4, node,
       "wants a weight of four axes");
  const std::int64_t c_out = found->second.shape[0];
  want(c_out >= 1 && c_out <= largest, node, "has no filters");
  want(node.groups >= 1 && in.c % node.groups == 0 && c_out % node.groups == 0, node,
       "has groups that do not divide its channels");
  shaped(graph, node, node.weight, {c_out, in.c / node.groups, node.kernel[0], node.kernel[1]});
  if (!node.bias.empty()) shaped(graph, node, node.bias, {c_out});
  return {c_out, slid(node, in.h, 0), slid(node, in.w, 1)};
}

Dims linear(const Graph& graph, const Node& node, const Dims& in) {
  want(in.flat || (in.h == 1 && in.w == 1), node, "is linear on a map that is not flat");
  const auto found = graph.arrays.find(node.weight);
  want(found != graph.arrays.end() && found->second.shape.size() == 2, node,
       "wants a weight of two axes");
  const std::int64_t c_out = found->second.shape[0];
  want(c_out >= 1 && c_out <= largest, node, "has no outputs");
  shaped(graph, node, node.weight, {c_out, in.c * in.h * in.w});
  if (!node.bias.empty()) shaped(graph, node, node.bias, {c_out});
  return {c_out, 1, 1, true};
}

// What works channel by channel takes a map, or a vector with one number a channel.
void want_channels(const Node& node, const Dims& in) {
  want(!in.flat || (in.h == 1 && in.w == 1), node,
       "works by channels, on a flat map of more than one pixel");
}

Dims result(const Graph& graph, const Node& node, const std::vector<Dims>& dims) {
  const std::size_t inputs = node.op == Op::input ? 0 : node.op == Op::add ? 2 : 1;
  if (node.inputs.size() != inputs) fail(node, "has a wrong number of inputs");
  for (const int from : node.inputs) {
    want(from >= 0 && from < static_cast<int>(dims.size()), node,
         "reads a node that is not before it");
  }
  if (node.op == Op::input) {
    want(dims.empty(), node, "is an input, but not the first node");
    return graph.input;
  }
  const Dims in = dims[static_cast<std::size_t>(node.inputs[0])];
  switch (node.op) {
    case Op::conv2d:
      return conv2d(graph, node, in);
    case Op::batch_norm:
      shaped(graph, node, node.mean, {in.c});
      for (const float v : shaped(graph, node, node.variance, {in.c}).values) {
        want(v >= 0.0f, node, "has a negative variance");
      }
      want(std::isfinite(node.eps) && node.eps > 0.0f, node, "has a bad eps");
      [[fallthrough]];
    case Op::affine:
      want_channels(node, in);
      shaped(graph, node, node.weight, {in.c});
      shaped(graph, node, node.bias, {in.c});
      return in;
    case Op::add: {
      const Dims other = dims[static_cast<std::size_t>(node.inputs[1])];
      want(in.c == other.c && in.h == other.h && in.w == other.w && in.flat == other.flat, node,
           "adds maps of different shapes");
      return in;
    }
    case Op::channel_pad: {
      want_channels(node, in);
      want(static_cast<std::int64_t>(node.position.size()) == in.c, node,
           "wants one position for each channel");
      want(node.channels >= 1 && node.channels <= largest, node, "has a bad number of channels");
      std::vector<bool> taken(static_cast<std::size_t>(node.channels));
      for (const std::int32_t p : node.position) {
        want(p >= -1 && p < node.channels, node, "has a position out of range");
        if (p < 0) continue;
        want(!taken[static_cast<std::size_t>(p)], node, "has a position twice");
        taken[static_cast<std::size_t>(p)] = true;
      }
      return {node.channels, in.h, in.w, in.flat};
    }
    case Op::avg_pool:
    case Op::max_pool:
      want(!in.flat, node, "pools a flat map");
      check_window(node);
      want(node.dilation == Pair{1, 1}, node, "pools with a dilation");
      want(2 * node.padding[0] <= node.kernel[0] && 2 * node.padding[1] <= node.kernel[1], node,
           "has a padding of more than half its window");
      return {in.c, slid(node, in.h, 0), slid(node, in.w, 1)};
    case Op::global_avg_pool:
      want(!in.flat, node, "pools a flat map");
      return {in.c, 1, 1};
    case Op::flatten:
      return {in.c, in.h, in.w, true};
    case Op::linear:
      return linear(graph, node, in);
    default:
      return in;
  }
}

}  // namespace

Op op_named(const std::string& name) {
  static const std::map<std::string, Op> ops = {{"input", Op::input},
                                                {"conv2d", Op::conv2d},
                                                {"batch_norm", Op::batch_norm},
                                                {"affine", Op::affine},
                                                {"relu", Op::relu},
                                                {"relu6", Op::relu6},
                                                {"add", Op::add},
                                                {"channel_pad", Op::channel_pad},
                                                {"avg_pool", Op::avg_pool},
                                                {"max_pool", Op::max_pool},
                                                {"global_avg_pool", Op::global_avg_pool},
                                                {"flatten", Op::flatten},
                                                {"linear", Op::linear}};
  const auto found = ops.find(name);
  if (found == ops.end())
    throw std::invalid_argument("Engine: no operator is called '" + name + "'");
  return found->second;
}

void Graph::check() {
  if (nodes.empty() || nodes[0].op != Op::input) {
    throw std::invalid_argument("Engine: the first node must be the input");
  }
  for (const std::int64_t size : {input.c, input.h, input.w}) {
    if (size < 1 || size > 1 << 15) throw std::invalid_argument("Engine: bad input shape");
  }
  for (const auto& [name, array] : arrays) {
    std::int64_t count = 1;
    for (const std::int64_t size : array.shape) count *= size;
    if (count != static_cast<std::int64_t>(array.values.size())) {
      throw std::invalid_argument("Engine: array '" + name + "' does not hold what its shape says");
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
    want(found.c <= largest && found.h <= largest && found.w <= largest &&
             found.c * found.h * found.w <= std::int64_t{1} << 32,
         node, "has a map larger than any that could be computed");
    dims.push_back(found);
  }
  const int count = static_cast<int>(nodes.size());
  if (output < 0 || output >= count) throw std::invalid_argument("Engine: output is no node");
  const Dims& last = dims[static_cast<std::size_t>(output)];
  if (last.h != 1 || last.w != 1) {
    throw std::invalid_argument("Engine: the output must be logits, one number a class");
  }
  for (const int tap : taps) {
    if (tap < 0 || tap >= count || dims[static_cast<std::size_t>(tap)].flat) {
      throw std::invalid_argument("Engine: a tap is no node with a map");
    }
  }
}

}  // namespace pyedge
