// What an operator is to the engine, in one place: the shape of its result, what a node of it
// becomes, what a step of it wants to be planned, and how the step runs forward and backward.
// csrc/engine/steps has a file for each, registry.cpp a line. docs/engine.md: "Adding an operator".
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/graph.hpp"
#include "engine/program.hpp"
#include "engine/weights.hpp"
#include "kernels/conv/region.hpp"

namespace pyedge {

class Lowering;
class Parameters;
class Pass;
class Planner;
struct Plan;
struct BackwardStep;

// With which convolution a step goes through the images, while a cache holds what both touch:
// after the one that made its input, or before the one that adds its result.
enum class Rides { alone, behind_maker, before_adder };

// What a step is asked about, wherever it is asked.
struct StepOf {
  const Graph& graph;
  const Program& program;
  const Step& step;
  const Node& node() const { return graph.nodes[at(step.node)]; }
  const Tensor& in(std::size_t input = 0) const {
    return program.tensors[at(step.in[input].tensor)];
  }
  const Tensor& out() const { return program.tensors[at(step.out)]; }
};

// One image of a step that runs. scratch: the worker's own, of as many floats as were asked for.
struct ImageStep {
  const Pass& pass;
  const StepOf& of;
  int index;  // of the step
  std::int64_t image;
  float* scratch;
};

class Operator {
 public:
  explicit Operator(const char* operator_name, std::size_t input_count = 1)
      : name(operator_name), inputs(input_count) {}
  virtual ~Operator() = default;
  Operator(const Operator&) = delete;
  Operator& operator=(const Operator&) = delete;

  const char* const name;    // in graphs
  const std::size_t inputs;  // how many

  // The shape of the result, from those of the inputs. Throws std::invalid_argument, by the
  // functions of steps/checks.hpp, for fields and arrays that do not fit.
  virtual Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& in) const = 0;
  // What the node becomes; by default a step of its own, which makes a tensor.
  virtual View lower(Lowering& lowering, int node) const;
  virtual bool learns() const { return false; }  // it has weights that can
  // It may stand between the classifier and the output.
  virtual bool ends() const { return false; }
  virtual bool linear() const { return false; }

  // Of steps. Convolutions go through the images themselves (steps/convolution.hpp); all others are
  // given one image at a time.
  virtual bool convolves() const { return false; }
  virtual Rides rides() const { return Rides::alone; }
  // The backward pass wants the values of the inputs, beside the masks of ReLUs.
  virtual bool reads_values(bool /*learns*/) const { return false; }
  // The gradient may be written over the input's values, element by element.
  virtual bool writes_over(const StepOf&) const { return false; }
  virtual double multiplications(const StepOf&) const { return 0.0; }  // of an image

  // Makes parameters of the node's arrays.
  virtual Weights add_weights(const StepOf&, Parameters&) const { return {}; }

  // Floats of scratch memory for each worker, in the forward and in the backward pass.
  virtual std::int64_t forward_floats(const StepOf&) const { return 0; }
  virtual std::int64_t backward_floats(const StepOf&) const { return 0; }
  virtual void plan_forward(Planner& planner, int step) const;
  virtual void plan_backward(Planner& planner, BackwardStep& backward) const;

  // One image's result, all of a pixel's channels and their padding.
  virtual void forward(const ImageStep& run) const;
  // From the gradient of the result to that of an input, by `put`. By default it is the same.
  virtual void backward(const ImageStep& run, std::size_t input, const float* gradient,
                        const Finish& put) const;
  // Adds to the gradients of the weights; before the step goes through the images.
  virtual void weight_gradient(Pass&, const BackwardStep&) const {}
};

// Throws std::invalid_argument for a name that no operator has.
const Operator* op_named(const std::string& name);

// What makes a tensor of a view; in no graph.
extern const Operator& copy_operator;

}  // namespace pyedge
