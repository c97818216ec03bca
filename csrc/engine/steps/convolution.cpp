#include "engine/steps/convolution.hpp"

#include <algorithm>

#include "engine/channel_sums.hpp"
#include "engine/lowering.hpp"
#include "engine/pass.hpp"
#include "engine/planner.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/depthwise.hpp"

namespace pyedge {
namespace {

class Convolution : public Operator {
 public:
  using Operator::Operator;

  bool learns() const override { return true; }
  bool convolves() const override { return true; }
  bool reads_values(bool learns) const override { return learns; }
  // A pointwise one's input gradient takes rows of several images at once, whose shares of J_b's
  // may differ.
  bool writes_over(const StepOf& of) const override { return !conv_shape(of, 1).pointwise(); }

  double multiplications(const StepOf& of) const override {
    const ConvShape s = conv_shape(of, 1);
    return static_cast<double>(s.taps() * s.in_group() * s.c_out) *
           static_cast<double>(s.out_h * s.out_w);
  }

  Weights add_weights(const StepOf& of, Parameters& parameters) const override {
    const Node& node = of.node();
    const ConvShape s = conv_shape(of, 1);
    Weights made;
    made.weight = parameters.add(of.graph, of.step.node, node.weight,
                                 {s.c_out, s.in_group(), s.taps(), s.out_stride});
    if (!node.bias.empty()) {
      made.bias = parameters.add(of.graph, of.step.node, node.bias, {s.c_out, 1, 1, s.out_stride});
    }
    return made;
  }

  void plan_forward(Planner& planner, int step) const override {
    ConvForward& how = planner.plan().forward[at(step)];
    how = ConvForward(conv_shape(planner.of(step), planner.images()), planner.table(),
                      planner.workers(), planner.half_forward(), planner.int8_forward(step));
    planner.forward_scratch(step, std::max(how.scratch_floats(), how.pack_scratch_floats()));
  }

  void plan_backward(Planner& planner, BackwardStep& backward) const override {
    const StepOf of = planner.of(backward.index);
    const ConvShape shape = conv_shape(of, planner.images());
    std::int64_t& floats = backward.scratch_floats;
    backward.weights = planner.learns(backward.index);
    if (backward.weights) {
      ConvWeightGradient& how = planner.plan().weight_gradient[at(backward.index)];
      how = ConvWeightGradient(shape, planner.table(), planner.workers());
      floats = std::max({floats, how.scratch_floats(),
                         ChannelSums::scratch_floats(planner.images(), of.out())});  // of a bias
      planner.bring(of.step.in[0].tensor);
    }
    if (planner.wants(of.step.in[0])) {
      ConvInputGradient& how = planner.plan().input_gradient[at(backward.index)];
      how = ConvInputGradient(shape, planner.table(), planner.workers(), planner.half_gradient());
      floats = std::max({floats, how.scratch_floats(), how.pack_scratch_floats()});
    }
    backward.target[0] = planner.target(of.step.in[0]);
    planner.residual(backward);
  }

  void weight_gradient(Pass& pass, const BackwardStep& b) const override {
    Network& net = pass.network();
    const Step& step = net.program.steps[at(b.index)];
    Parameter& weight = net.parameters[net.weights[at(b.index)].weight];
    pass.plan().weight_gradient[at(b.index)].run(pass.tensor(step.in[0].tensor),
                                                 pass.lens(step.in[0]), pass.gradient(step.out),
                                                 weight.gradient.data(), pass.scratch(b));
    pass.add_bias_gradient(b);
  }
};

class Conv2d : public Convolution {
 public:
  Conv2d() : Convolution("conv2d") {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& all) const override {
    const Dims& in = all[0];
    want(!in.flat, node, "is a convolution after flatten");
    check_window(node);
    const auto found = graph.arrays.find(node.weight);
    want(found != graph.arrays.end() && found->second.shape.size() == 4, node,
         "wants a weight of four axes");
    const std::int64_t c_out = found->second.shape[0];
    want(c_out >= 1 && c_out <= largest_size, node, "has no filters");
    want(node.groups >= 1 && in.c % node.groups == 0 && c_out % node.groups == 0, node,
         "has groups that do not divide its channels");
    shaped(graph, node, node.weight, {c_out, in.c / node.groups, node.kernel[0], node.kernel[1]});
    if (!node.bias.empty()) shaped(graph, node, node.bias, {c_out});
    return {c_out, slid(node, in.h, 0), slid(node, in.w, 1)};
  }

  View lower(Lowering& lowering, int node) const override {
    const Graph& graph = lowering.graph();
    const Node& mine = graph.nodes[at(node)];
    const int from = mine.inputs[0];
    if (!is_depthwise(mine, graph.dims[at(from)], graph.dims[at(node)])) {
      return Operator::lower(lowering, node);
    }
    return lowering.step(depthwise_operator, node, {lowering.view(from)});
  }
};

class Linear : public Convolution {
 public:
  Linear() : Convolution("linear") {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& all) const override {
    const Dims& in = all[0];
    want(in.flat || (in.h == 1 && in.w == 1), node, "is linear on a map that is not flat");
    const auto found = graph.arrays.find(node.weight);
    want(found != graph.arrays.end() && found->second.shape.size() == 2, node,
         "wants a weight of two axes");
    const std::int64_t c_out = found->second.shape[0];
    want(c_out >= 1 && c_out <= largest_size, node, "has no outputs");
    shaped(graph, node, node.weight, {c_out, in.c * in.h * in.w});
    if (!node.bias.empty()) shaped(graph, node, node.bias, {c_out});
    return {c_out, 1, 1, true};
  }

  bool linear() const override { return true; }
};

// Packs the weight anew where its copy is of another version or precision.
template <typename How>
void pack(Pass& pass, int parameter, const How& how, Buffer& packed, std::uint64_t& version,
          Numbers& numbers, float* scratch) {
  const Parameter& weight = pass.network().parameters[parameter];
  if (version == weight.version && numbers == how.numbers()) return;
  pass.timed(weight.name, "pack", [&] {
    if (packed.floats() != how.packed_floats()) {
      packed = Buffer();  // not both at once
      packed = Buffer(how.packed_floats());
    }
    how.pack(weight.values.data(), packed.data(), scratch);
  });
  version = weight.version;
  numbers = how.numbers();
}

void pack_backward(Pass& pass, int step, float* scratch) {
  Weights& c = pass.network().weights[at(step)];
  pack(pass, c.weight, pass.plan().input_gradient[at(step)], c.backward, c.backward_version,
       c.backward_numbers, scratch);
}

}  // namespace

ConvShape conv_shape(const StepOf& of, std::int64_t images) {
  const Node& node = of.node();
  const Tensor &in = of.in(), &out = of.out();
  ConvShape s{images, in.c, in.h, in.w, in.stride, out.c, out.h, out.w, out.stride,
              in.h,   in.w, 1,    1,    0,         0,     1,     1};
  if (!node.op->linear()) {
    s.kernel_h = node.kernel[0], s.kernel_w = node.kernel[1];
    s.stride_h = node.stride[0], s.stride_w = node.stride[1];
    s.padding_h = node.padding[0], s.padding_w = node.padding[1];
    s.dilation_h = node.dilation[0], s.dilation_w = node.dilation[1];
    s.groups = node.groups;
  }
  return s;
}

std::int64_t packed_floats(const Plan& plan, int step) {
  return plan.forward[at(step)].packed_floats();
}

std::int64_t packed_floats(const Plan& plan, const BackwardStep& backward) {
  return backward.target[0].index < 0 ? 0 : plan.input_gradient[at(backward.index)].packed_floats();
}

void pack_forward(Pass& pass, int step, float* scratch) {
  Weights& c = pass.network().weights[at(step)];
  pack(pass, c.weight, pass.plan().forward[at(step)], c.forward, c.forward_version,
       c.forward_numbers, scratch);
}

void convolve(Pass& pass, int index, float* scratch, const PerImage& along) {
  const Network& net = pass.network();
  const Step& step = net.program.steps[at(index)];
  pass.plan().forward[at(index)].run(pass.tensor(step.in[0].tensor), pass.lens(step.in[0]),
                                     net.weights[at(index)].forward.data(), result_of(pass, index),
                                     scratch, along);
}

Finish result_of(const Pass& pass, int index) {
  const Network& net = pass.network();
  const Step& step = net.program.steps[at(index)];
  const Tensor& out = net.tensor(step.out);
  Finish finish(pass.tensor(step.out), out.w * out.stride, out.stride);
  finish.bias = net.bias(index);
  if (step.residual.tensor >= 0) {
    finish.residual = pass.tensor(step.residual.tensor);
    finish.residual_lens = pass.lens(step.residual);
  }
  return finish;
}

void input_gradient(Pass& pass, const BackwardStep& b, const Finish& put, const std::string& name,
                    const PerImage& along) {
  const Network& net = pass.network();
  float* scratch = pass.scratch(b);
  pack_backward(pass, b.index, scratch);
  pass.timed(name, "input gradient", [&] {
    pass.plan().input_gradient[at(b.index)].run(pass.gradient(net.program.steps[at(b.index)].out),
                                                net.weights[at(b.index)].backward.data(), put,
                                                scratch, along);
  });
}

static const Conv2d conv2d;
static const Linear linear;
const Operator& conv2d_operator = conv2d;
const Operator& linear_operator = linear;

}  // namespace pyedge
