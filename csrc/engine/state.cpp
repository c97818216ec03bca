// What an engine holds by name: weights, running statistics, gradients, the optimizer's slots, all
// in torch's layout.
#include <algorithm>
#include <stdexcept>

#include "engine/engine.hpp"

namespace pyedge {
namespace {

[[noreturn]] void unknown_array(const std::string& name) {
  throw std::invalid_argument("Engine: no array is called '" + name + "'");
}

}  // namespace

const std::vector<std::int64_t>& Engine::shape(const std::string& name) const {
  const auto found = network_.graph.arrays.find(name);
  if (found == network_.graph.arrays.end()) unknown_array(name);
  return found->second.shape;
}

std::vector<std::string> Engine::array_names() const {
  std::vector<std::string> names;
  for (const Parameter& p : network_.parameters.all()) names.push_back(p.name);
  for (std::size_t i = 0; i < network_.norms.size(); ++i) {
    if (!network_.program.norms[i].has_statistics) continue;
    const Node& node = network_.graph.nodes[at(network_.program.norms[i].node)];
    names.push_back(node.mean);
    names.push_back(node.variance);
  }
  return names;
}

std::vector<float> Engine::array(const std::string& name) const {
  const int index = network_.parameters.find(name);
  if (index >= 0) {
    const Parameter& p = network_.parameters[index];
    std::vector<float> values(static_cast<std::size_t>(p.layout.torch_floats()));
    p.layout.to_torch(p.values.data(), values.data());
    return values;
  }
  for (std::size_t i = 0; i < network_.norms.size(); ++i) {
    const Node& node = network_.graph.nodes[at(network_.program.norms[i].node)];
    if (!network_.program.norms[i].has_statistics) continue;
    if (node.mean == name) return network_.norms[i].mean;
    if (node.variance == name) return network_.norms[i].variance;
  }
  unknown_array(name);
}

std::vector<float> Engine::gradient(const std::string& name) const {
  const int index = network_.parameters.find(name);
  if (index < 0 || !network_.parameters[index].trainable) {
    throw std::invalid_argument("gradient: '" + name + "' is not trainable");
  }
  if (!gradients_ready_) throw std::logic_error("gradient: there are none; call step first");
  const Parameter& p = network_.parameters[index];
  std::vector<float> values(static_cast<std::size_t>(p.layout.torch_floats()));
  p.layout.to_torch(p.gradient.data(), values.data());
  return values;
}

void Engine::set_array(const std::string& name, const float* values) {
  const int index = network_.parameters.find(name);
  gradients_ready_ = false;
  if (index >= 0) {
    Parameter& p = network_.parameters[index];
    p.layout.to_engine(values, p.values.data());
    ++p.version;
    network_.fold_norms();
    return;
  }
  for (std::size_t i = 0; i < network_.norms.size(); ++i) {
    const Node& node = network_.graph.nodes[at(network_.program.norms[i].node)];
    if (!network_.program.norms[i].has_statistics || (node.mean != name && node.variance != name))
      continue;
    std::vector<float>& to =
        node.mean == name ? network_.norms[i].mean : network_.norms[i].variance;
    std::copy_n(values, to.size(), to.begin());
    network_.fold_norms();
    return;
  }
  unknown_array(name);
}

std::map<std::string, std::vector<float>> Engine::slots() const {
  std::map<std::string, std::vector<float>> found;
  for (const Parameter& p : network_.parameters.all()) {
    if (!p.trainable) continue;
    std::vector<float> values(static_cast<std::size_t>(p.layout.torch_floats()));
    p.layout.to_torch(p.first.data(), values.data());
    found["first." + p.name] = values;
    if (!optimizer_.adam) continue;
    p.layout.to_torch(p.second.data(), values.data());
    found["second." + p.name] = values;
  }
  return found;
}

void Engine::set_slots(const std::map<std::string, std::vector<float>>& slots, std::int64_t steps) {
  if (steps < 0) {
    throw std::invalid_argument("set_state: steps: wanted a number from 0, got " +
                                std::to_string(steps));
  }
  const auto wanted = this->slots();
  for (const auto& [name, values] : wanted) {
    const auto found = slots.find(name);
    if (found == slots.end() || found->second.size() != values.size()) {
      throw std::invalid_argument(
          "set_state: '" + name + "': wanted " + std::to_string(values.size()) + " numbers, got " +
          (found == slots.end() ? "none" : std::to_string(found->second.size())));
    }
  }
  if (slots.size() != wanted.size()) {
    throw std::invalid_argument("set_state: wanted " + std::to_string(wanted.size()) +
                                " slots, of the arrays that learn here, got " +
                                std::to_string(slots.size()));
  }
  for (Parameter& p : network_.parameters.all()) {
    if (!p.trainable) continue;
    p.layout.to_engine(slots.at("first." + p.name).data(), p.first.data());
    if (optimizer_.adam) p.layout.to_engine(slots.at("second." + p.name).data(), p.second.data());
  }
  network_.parameters.steps = steps;
}

}  // namespace pyedge
