// Depthwise convolutions: a filter a channel. Unlike others they touch one image at a time, and
// most of their time goes into moving it.
#include <algorithm>

#include "engine/pass.hpp"
#include "engine/planner.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/depthwise.hpp"
#include "engine/steps/operator.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Of bordered input: in the second cache with its output, of a small core too. But four rows of
// output at the least, which share what they see.
constexpr std::int64_t band_floats = 1 << 14, least_rows = 4;

std::int64_t taps(const Node& node) {
  return node.kernel[0] * node.kernel[1];
}

// A window that slides over an image, and the rows of output that a worker takes at a time.
struct Bands {
  std::int64_t h, w;  // of the output
  std::int64_t stride, top, left;
  std::int64_t rows, in_rows, in_row;

  Bands(const Node& node, std::int64_t out_h, std::int64_t out_w, const std::int64_t (&steps)[2],
        const std::int64_t (&padding)[2], std::int64_t pixel_floats)
      : h(out_h), w(out_w), stride(steps[0]), top(padding[0]), left(padding[1]) {
    in_row = ((w - 1) * steps[1] + reach(node, 1)) * pixel_floats;
    rows = std::min(std::max((band_floats / in_row - reach(node, 0)) / stride + 1, least_rows), h);
    in_rows = (rows - 1) * stride + reach(node, 0);
  }
  static std::int64_t reach(const Node& node, int axis) {
    return (node.kernel[axis] - 1) * node.dilation[axis] + 1;
  }
  static Bands forward(const StepOf& of) {
    const Node& node = of.node();
    return {node,
            of.out().h,
            of.out().w,
            {node.stride[0], node.stride[1]},
            {node.padding[0], node.padding[1]},
            of.in().stride};
  }
  // Of steps of one pixel: from the output's gradient to the input's, the window turned around.
  static Bands backward(const StepOf& of) {
    const Node& node = of.node();
    return {node,
            of.in().h,
            of.in().w,
            {1, 1},
            {reach(node, 0) - 1 - node.padding[0], reach(node, 1) - 1 - node.padding[1]},
            of.in().stride};
  }
  std::int64_t floats() const { return in_rows * in_row; }

  // body(band), the input copied through its lens, with its border: each row once,
  // into a ring that holds a band's
  template <typename Body>
  void each(const KernelTable& table, const ImageView& image, float* ring, const Body& body) const {
    std::int64_t copied = 0;  // rows of the bordered image
    for (std::int64_t first = 0; first < h; first += rows) {
      const std::int64_t now = std::min(rows, h - first), begin = first * stride;
      const std::int64_t end = begin + in_rows - (rows - now) * stride;
      for (copied = std::max(copied, begin); copied < end;) {
        const std::int64_t at = copied % in_rows, count = std::min(end - copied, in_rows - at);
        table.copy_region({image.data, image.h, image.w, image.stride, copied - top, -left, count,
                           in_row / image.stride, image.lens, ring + at * in_row});
        copied += count;
      }
      body(DepthwiseBand{ring, in_rows, in_row, begin % in_rows, first, now, w});
    }
  }
};

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
    return Bands::forward(of).floats();
  }
  std::int64_t backward_floats(const StepOf& of) const override {
    return by_pixel(of.node()) ? Bands::backward(of).floats() : 0;
  }

  void plan_backward(Planner& planner, BackwardStep& backward) const override {
    const StepOf of = planner.of(backward.index);
    backward.weights = planner.learns(backward.index);
    backward.scratch_floats = planner.for_workers(backward_floats(of));
    if (backward.weights) {
      const std::int64_t bands = planner.for_workers(Bands::forward(of).floats());
      backward.scratch_floats =
          std::max({backward.scratch_floats, planner.images() * sum_floats(of) + bands,
                    ChannelSums::scratch_floats(planner.images(), of.out())});  // of a bias
      planner.bring(of.step.in[0].tensor);
    }
    backward.target[0] = planner.target(of.step.in[0]);
  }

  void forward(const ImageStep& run) const override {
    const Weights& own = run.pass.network().weights[at(run.index)];
    const Parameters& parameters = run.pass.network().parameters;
    const Tensor& out = run.of.out();
    Finish put(run.pass.result(run), out.w * out.stride, out.stride);
    if (own.bias >= 0) put.bias = parameters[own.bias].values.data();
    const DepthwiseWindow window = window_of(run.of, parameters[own.weight].values.data());
    slide(run, Bands::forward(run.of), run.pass.seen(run.of.step.in[0], run.image), window, put);
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const Weights& own = run.pass.network().weights[at(run.index)];
    const Node& node = run.of.node();
    const Tensor &in = run.of.in(), &out = run.of.out();
    DepthwiseWindow window =
        window_of(run.of, run.pass.network().parameters[own.weight].values.data());
    if (by_pixel(node)) {
      window.weights += (taps(node) - 1) * window.weight_step;
      window.weight_step = -window.weight_step;
      return slide(run, Bands::backward(run.of), {gradient, out.h, out.w, out.stride, {}}, window,
                   put);
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
    const std::int64_t floats = sum_floats(of), band = worker_floats(Bands::forward(of).floats());
    float *sums = pass.scratch(b), *bands = sums + pass.images() * floats;
    const DepthwiseWindow window = window_of(of, nullptr);
    parallel_for_workers(pass.images(), [&](std::int64_t i, int worker) {
      float* mine = sums + i * floats;
      std::fill_n(mine, floats, 0.0f);
      Bands::forward(of).each(pass.table(), pass.seen(of.step.in[0], i), bands + worker * band,
                              [&](const DepthwiseBand& rows) {
                                const float* g =
                                    slope + i * out.image() + rows.top * out.w * out.stride;
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

  static void slide(const ImageStep& run, const Bands& bands, const ImageView& image,
                    const DepthwiseWindow& window, const Finish& put) {
    const KernelTable& table = run.pass.table();
    bands.each(table, image, run.scratch,
               [&](const DepthwiseBand& band) { table.depthwise(band, window, put); });
  }

  static std::int64_t sum_floats(const StepOf& of) {
    return padded_floats(taps(of.node()) * of.out().stride);
  }

  static DepthwiseWindow window_of(const StepOf& of, const float* weights) {
    const Node& node = of.node();
    return {weights,        of.in().stride,   node.kernel[0],   node.kernel[1], node.stride[0],
            node.stride[1], node.dilation[0], node.dilation[1], of.in().stride};
  }
};

const Depthwise depthwise;

}  // namespace

const Operator& depthwise_operator = depthwise;

bool is_depthwise(const Node& node, const Dims& in, const Dims& out) {
  return node.groups == in.c && out.c == in.c && in.c > 1 && taps(node) <= most_depthwise_taps;
}

}  // namespace pyedge
