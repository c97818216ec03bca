// Every operator of graphs, by name. A new one is a line here.
#include <map>
#include <stdexcept>
#include <string>

#include "engine/steps/operator.hpp"

// clang-format off
#define PYEDGE_OPERATORS(each)          \
  each(add_operator)                    \
  each(affine_operator)                 \
  each(avg_pool_operator)               \
  each(batch_norm_operator)             \
  each(channel_pad_operator)            \
  each(conv2d_operator)                 \
  each(elu_operator)                    \
  each(flatten_operator)                \
  each(gelu_operator)                   \
  each(gelu_tanh_operator)              \
  each(global_avg_pool_operator)        \
  each(hard_sigmoid_operator)           \
  each(hard_swish_operator)             \
  each(input_operator)                  \
  each(leaky_relu_operator)             \
  each(linear_operator)                 \
  each(max_pool_operator)               \
  each(mish_operator)                   \
  each(multiply_operator)               \
  each(prelu_operator)                  \
  each(relu_operator)                   \
  each(relu6_operator)                  \
  each(sigmoid_operator)                \
  each(silu_operator)
// clang-format on

namespace pyedge {

#define PYEDGE_DECLARE(object) extern const Operator& object;
PYEDGE_OPERATORS(PYEDGE_DECLARE)

const Operator* op_named(const std::string& name) {
  static const std::map<std::string, const Operator*> all = [] {
    std::map<std::string, const Operator*> found;
#define PYEDGE_PUT(object) found[(object).name] = &(object);
    PYEDGE_OPERATORS(PYEDGE_PUT)
    return found;
  }();
  const auto found = all.find(name);
  if (found == all.end()) {
    throw std::invalid_argument("Engine: no operator is called '" + name + "'");
  }
  return found->second;
}

}  // namespace pyedge
