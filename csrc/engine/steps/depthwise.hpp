// The step that a conv2d with a filter a channel becomes.
#pragma once

#include "engine/graph.hpp"

namespace pyedge {

extern const Operator& depthwise_operator;
bool is_depthwise(const Node& node, const Dims& in, const Dims& out);

}  // namespace pyedge
