#include "engine/network.hpp"

#include <utility>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "kernels/dispatch/dispatch.hpp"

namespace pyedge {
namespace {

Graph checked(Graph graph) {
  graph.check();
  return graph;
}

}  // namespace

Network::Network(Graph given)
    : graph(checked(std::move(given))), table(kernel_table()), program(lower(graph, table)) {
  trainable.assign(graph.nodes.size(), false);
  input_scales.resize(graph.nodes.size());
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const StepOf step = of(static_cast<int>(i));
    weights.push_back(step.step.op->add_weights(step, parameters));
  }
  for (const Norm& norm : program.norms) norms.emplace_back(graph, program, norm, parameters);
  for (auto& [name, array] : graph.arrays) std::vector<float>().swap(array.values);
#if defined(__GLIBC__)
  malloc_trim(0);  // or the process keeps them
#endif
  parameters.set_trainable(trainable, false);
  fold_norms();
}

void Network::fold_norms() {
  for (NormState& norm : norms) norm.fold(parameters);
}

}  // namespace pyedge
