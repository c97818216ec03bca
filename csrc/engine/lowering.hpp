// From the checked graph to tensors, views and steps: what operators tell their nodes to become.
#pragma once

#include <vector>

#include "engine/program.hpp"

namespace pyedge {

struct KernelTable;

class Lowering {
 public:
  Lowering(const Graph& graph, const KernelTable& table);
  Program run();

  const Graph& graph() const { return graph_; }
  const KernelTable& table() const { return table_; }
  // What an earlier node became.
  const View& view(int node) const { return views_[at(node)]; }
  std::int64_t stride(const View& view) const { return program_.tensors[at(view.tensor)].stride; }

  // Returns its index.
  int new_tensor(const Dims& dims);
  // A step that makes a tensor; the view is of that.
  View step(const Operator& op, int node, std::vector<View> in);
  Step& last_step() { return program_.steps.back(); }
  // A view of the node's input through a norm.
  View norm(int node, bool has_statistics);
  // Lets the convolution that `node` became add `other` to its result as it writes, and moves it
  // behind what makes that. False: it cannot, or somebody else wants its own result.
  bool add_by_maker(int node, const View& other);

 private:
  View copy(const View& view);
  void shortcuts_first();
  void number_producers();
  void narrow_input();

  const Graph& graph_;
  const KernelTable& table_;
  std::vector<View> views_;  // by node
  std::vector<int> uses_;    // by node
  Program program_;
};

}  // namespace pyedge
