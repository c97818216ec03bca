// Weights, their gradients and the optimizer's slots, in the engine's layout: convolutions as
// [tap, c_in, c_out padded], vectors padded. The padding is zero and stays zero.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "engine/buffer.hpp"
#include "engine/graph.hpp"

namespace pyedge {

// How an array of torch's layout lies in the engine's.
struct WeightLayout {
  std::int64_t c_out, c_in, taps, stride;  // c_in: of a group; a vector: c_in = taps = 1
  std::int64_t floats() const { return taps * c_in * stride; }
  std::int64_t torch_floats() const { return c_out * c_in * taps; }
  void to_engine(const float* torch, float* engine) const;
  void to_torch(const float* engine, float* torch) const;
};

struct Parameter {
  std::string name;
  std::vector<std::int64_t> shape;  // torch's
  WeightLayout layout;
  Buffer values;
  int node;
  bool trainable = false;
  Buffer gradient, first, second;  // while it is trainable; the optimizer's slots
  std::uint64_t version = 1;       // counts changes of values, so that packed copies know
};

struct OptimizerSettings {
  bool adam = false;
  double momentum = 0.9;
  bool nesterov = true;
  double weight_decay = 5e-4;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double clip = 5.0;  // largest norm of all gradients together, 0 for none
};

class Parameters {
 public:
  // Returns the index of a new one, or of the one of that name.
  int add(const Graph& graph, int node, const std::string& name, const WeightLayout& layout);
  Parameter& operator[](int index) { return all_[static_cast<std::size_t>(index)]; }
  const Parameter& operator[](int index) const { return all_[static_cast<std::size_t>(index)]; }
  int find(const std::string& name) const;  // -1 if there is none
  std::vector<Parameter>& all() { return all_; }
  const std::vector<Parameter>& all() const { return all_; }

  // Gradients and slots exist for these alone; what was learned of momentum is forgotten.
  void set_trainable(const std::vector<bool>& by_node, bool adam);
  void clear_gradients();
  double gradient_norm() const;
  void update(const OptimizerSettings& settings, double lr, double norm);
  std::int64_t bytes() const;

  std::int64_t steps = 0;  // of the optimizer

 private:
  std::vector<Parameter> all_;
  std::map<std::string, int> by_name_;
};

}  // namespace pyedge
