// Activations with a curve: sigmoid, SiLU, GELU, Mish, ELU and their like, and PReLU. Steps, since
// a lens has no curves.
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Curved : public Operator {
 public:
  Curved(const char* own_name, Curve curve) : Operator(own_name), curve_(curve) {}

  Dims shape(const Graph&, const Node&, const std::vector<Dims>& in) const override {
    return in[0];
  }

  Rides rides() const override { return Rides::behind_maker; }
  bool reads_values(bool) const override { return true; }
  std::int64_t backward_floats(const StepOf& of) const override { return of.in().image(); }

  void forward(const ImageStep& run) const override {
    run.pass.table().activate(activation(run), seen(run), run.pass.result(run));
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const Tensor& in = run.of.in();
    run.pass.table().activation_gradient(activation(run), seen(run), gradient, run.scratch);
    run.pass.table().finish_region(put, run.scratch, in.h, in.w, {0, 0, 1, 1});
  }

 protected:
  virtual Activation activation(const ImageStep& run) const { return {curve_, run.of.in().c}; }

 private:
  static ImageView seen(const ImageStep& run) {
    return run.pass.seen(run.of.step.in[0], run.image);
  }

  Curve curve_;
};

// The slopes below 0, one a channel, stay as they are on the device.
class Prelu : public Curved {
 public:
  Prelu() : Curved("prelu", Curve::leaky) {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& in) const override {
    want_channels(node, in[0]);
    shaped(graph, node, node.weight, {in[0].c});
    return in[0];
  }

  Weights add_weights(const StepOf& of, Parameters& parameters) const override {
    Weights made;
    made.weight = parameters.add(of.graph, of.step.node, of.node().weight,
                                 {of.out().c, 1, 1, of.out().stride});
    return made;
  }

 protected:
  Activation activation(const ImageStep& run) const override {
    const Network& network = run.pass.network();
    const int slopes = network.weights[at(run.index)].weight;
    return {Curve::leaky, run.of.in().c, network.parameters[slopes].values.data()};
  }
};

// Three numbers, as torch's own function has them: ELU, SELU and CELU are one.
class EluStep : public Curved {
 public:
  EluStep() : Curved("elu", Curve::elu) {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    numbers(node);
    return in[0];
  }

 protected:
  Activation activation(const ImageStep& run) const override {
    return {Curve::elu, run.of.in().c, nullptr, numbers(run.of.node())};
  }

 private:
  static Elu numbers(const Node& node) {
    return {static_cast<float>(number(node, "alpha", -1e3, 1e3)),
            static_cast<float>(number(node, "scale", -1e3, 1e3)),
            static_cast<float>(number(node, "input_scale", 1e-3, 1e3))};
  }
};

const Curved sigmoid("sigmoid", Curve::sigmoid);
const Curved hard_sigmoid("hard_sigmoid", Curve::hard_sigmoid);
const Curved silu("silu", Curve::silu);
const Curved hard_swish("hard_swish", Curve::hard_swish);
const Curved gelu("gelu", Curve::gelu);
const Curved gelu_tanh("gelu_tanh", Curve::gelu_tanh);
const Curved mish("mish", Curve::mish);
const EluStep elu;
const Prelu prelu;

}  // namespace

const Operator& sigmoid_operator = sigmoid;
const Operator& hard_sigmoid_operator = hard_sigmoid;
const Operator& silu_operator = silu;
const Operator& hard_swish_operator = hard_swish;
const Operator& gelu_operator = gelu;
const Operator& gelu_tanh_operator = gelu_tanh;
const Operator& mish_operator = mish;
const Operator& elu_operator = elu;
const Operator& prelu_operator = prelu;

}  // namespace pyedge
