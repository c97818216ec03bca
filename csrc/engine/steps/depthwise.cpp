// Depthwise convolutions: a filter a channel. Unlike others they touch one image at a time, and
// most of their time goes into moving it.
#include <algorithm>

#include "engine/pass.hpp"
#include "engine/planner.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/convolution.hpp"
#include "engine/steps/depthwise.hpp"
#include "engine/steps/depthwise_bands.hpp"
#include "engine/steps/depthwise_chain.hpp"
#include "engine/steps/operator.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

std::int64_t taps(const Node& node) {
  return node.kernel[0] * node.kernel[1];
}

// The bands of all of an image that lies in memory, through its lens. ahead: as a Region's.
template <typename Body>
void each_band(const KernelTable& table, const DepthwiseBands& bands, const ImageView& image,
               std::int64_t ahead, float* ring, const Body& body) {
  const auto fill = [&](std::int64_t row, std::int64_t count, float* to) {
    bands.copy(table, image, row, count, to, ahead);
  };
  bands.each(0, bands.h, ring, fill, body);
}

class Depthwise : public Operator {
 public:
  Depthwise() : Operator("depthwise conv2d") {}

  // In no graph: conv2d lowers to it.
  Dims shape(const Graph&, const Node&, const std::vector<Dims>& in) const override {
    return in[0];
  }

  bool learns() const override { return true; }
  bool reads_values(bool learns) const override { return learns; }
  bool writes_over(const StepOf&) const override { return true; }
  Rides rides() const override { return Rides::behind_maker; }
  double multiplications(const StepOf& of) const override {
    return static_cast<double>(taps(of.node()) * of.out().c) *
           static_cast<double>(of.out().h * of.out().w);
  }

  Weights add_weights(const StepOf& of, Parameters& parameters) const override {
    const Node& node = of.node();
    const Tensor& t = of.out();
    Weights made;
    made.weight =
        parameters.add(of.graph, of.step.node, node.weight, {t.c, 1, taps(node), t.stride});
    if (!node.bias.empty()) {
      made.bias = parameters.add(of.graph, of.step.node, node.bias, {t.c, 1, 1, t.stride});
    }
    return made;
  }

  std::int64_t forward_floats(const StepOf& of) const override {
    return DepthwiseBands::forward(of).floats();
  }
  std::int64_t backward_floats(const StepOf& of) const override {
    return by_pixel(of.node()) ? DepthwiseBands::backward(of).floats() : 0;
  }

  void plan_forward(Planner& planner, int step) const override {
    const Chain* chain = planner.plan().chain_of(step);
    const std::int64_t floats =
        chain ? chain_floats(*chain, planner) : forward_floats(planner.of(step));
    planner.forward_scratch(step, planner.for_workers(floats));
    if (!chain) planner.stream(step);
  }

  void plan_backward(Planner& planner, BackwardStep& backward) const override {
    const StepOf of = planner.of(backward.index);
    backward.weights = planner.learns(backward.index);
    backward.scratch_floats = planner.for_workers(backward_floats(of));
    if (backward.weights) {
      const std::int64_t bands = planner.for_workers(DepthwiseBands::forward(of).floats());
      backward.scratch_floats =
          std::max({backward.scratch_floats, planner.images() * sum_floats(of) + bands,
                    ChannelSums::scratch_floats(planner.images(), of.out())});  // of a bias
      planner.bring(of.step.in[0].tensor);
    }
    backward.target[0] = planner.target(of.step.in[0]);
  }

  void forward(const ImageStep& run) const override {
    const Network& net = run.pass.network();
    Finish put = result_of(run.pass, run.index).at(run.image * run.of.out().image());
    put.streams = run.pass.plan().streams[at(run.index)];
    const float* weights = net.parameters[net.weights[at(run.index)].weight].values.data();
    const DepthwiseWindow window = depthwise_window(run.of, weights);
    slide(run, DepthwiseBands::forward(run.of), run.pass.seen(run.of.step.in[0], run.image), window,
          put);
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const Weights& own = run.pass.network().weights[at(run.index)];
    const Node& node = run.of.node();
    const Tensor &in = run.of.in(), &out = run.of.out();
    DepthwiseWindow window =
        depthwise_window(run.of, run.pass.network().parameters[own.weight].values.data());
    if (by_pixel(node)) {
      window.weights += (taps(node) - 1) * window.weight_step;
      window.weight_step = -window.weight_step;
      return slide(run, DepthwiseBands::backward(run.of), {gradient, out.h, out.w, out.stride, {}},
                   window, put);
    }
    run.pass.table().depthwise_input_gradient(
        {gradient, out.h, out.w, in.h, in.w, node.padding[0], node.padding[1]}, window, 0, in.h,
        put);
  }

  // Sums of each image, then of the images in their order.
  void weight_gradient(Pass& pass, const BackwardStep& b) const override {
    const StepOf of = pass.network().of(b.index);
    const Weights& own = pass.network().weights[at(b.index)];
    const Tensor& out = of.out();
    const float* slope = pass.gradient(of.step.out);
    const std::int64_t floats = sum_floats(of),
                       band = worker_floats(DepthwiseBands::forward(of).floats());
    float *sums = pass.scratch(b), *bands = sums + pass.images() * floats;
    const DepthwiseWindow window = depthwise_window(of, nullptr);
    parallel_for_workers(pass.images(), [&](std::int64_t i, int worker) {
      float* mine = sums + i * floats;
      std::fill_n(mine, floats, 0.0f);
      each_band(pass.table(), DepthwiseBands::forward(of), pass.seen(of.step.in[0], i), 0,
                bands + worker * band, [&](const DepthwiseBand& rows) {
                  const float* g = slope + i * out.image() + rows.top * out.w * out.stride;
                  pass.table().depthwise_weight_gradient(rows, window, g, mine);
                });
    });
    Parameter& weight = pass.network().parameters[own.weight];
    for (std::int64_t k = 0; k < weight.layout.floats(); ++k) {
      double sum = 0.0;
      for (std::int64_t i = 0; i < pass.images(); ++i) sum += sums[i * floats + k];
      weight.gradient.data()[k] += static_cast<float>(sum);
    }
    pass.add_bias_gradient(b);
  }

 private:
  static bool by_pixel(const Node& node) { return node.stride[0] == 1 && node.stride[1] == 1; }

  static void slide(const ImageStep& run, const DepthwiseBands& bands, const ImageView& image,
                    const DepthwiseWindow& window, const Finish& put) {
    const KernelTable& table = run.pass.table();
    // With a step of two pixels a band's copy takes as long as its sums: of the next band's rows
    // the copy asks for the even ones, the sums for the odd ones. Behind an image's last row lies
    // the next image.
    const bool halved = bands.stride == 2;
    const std::int64_t ahead = halved ? bands.rows * bands.stride : 0;
    each_band(table, bands, image, ahead, run.scratch, [&](DepthwiseBand band) {
      const std::int64_t row = bands.seen_by(band.top + band.rows) | (halved ? 1 : 0);
      band.next = image.data + row * image.w * image.stride;
      band.next_row = bands.stride * image.w * image.stride;
      table.depthwise(band, window, put);
    });
  }

  static std::int64_t sum_floats(const StepOf& of) {
    return padded_floats(taps(of.node()) * of.out().stride);
  }
};

const Depthwise depthwise;

}  // namespace

const Operator& depthwise_operator = depthwise;

bool is_depthwise(const Node& node, const Dims& in, const Dims& out) {
  return node.groups == in.c && out.c == in.c && in.c > 1 && taps(node) <= most_depthwise_taps;
}

}  // namespace pyedge
