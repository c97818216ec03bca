// What operators check of a node's fields and arrays. Each throws std::invalid_argument that names
// the node.
#pragma once

#include <string>
#include <vector>

#include "engine/graph.hpp"

namespace pyedge {

// Larger than any image or layer that fits a phone, small enough that no product overflows.
constexpr std::int64_t largest_size = 1 << 20;

[[noreturn]] void fail(const Node& node, const std::string& what);
void want(bool holds, const Node& node, const char* what);

// An array of that shape.
const Array& shaped(const Graph& graph, const Node& node, const std::string& name,
                    const std::vector<std::int64_t>& shape);
// Kernel, stride, padding and dilation.
void check_window(const Node& node);
// A field that is a number from least to most.
double number(const Node& node, const char* field, double least, double most);
// How often the window fits along an axis.
std::int64_t slid(const Node& node, std::int64_t size, int axis);
// What works channel by channel takes a map, or a vector with one number a channel.
void want_channels(const Node& node, const Dims& in);

}  // namespace pyedge
