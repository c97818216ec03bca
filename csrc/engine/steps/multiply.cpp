// The product of two maps, or of a map and a number for each of its channels: a gate, as
// squeeze-and-excitation has (Hu et al. 2018).
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Multiply : public Operator {
 public:
  Multiply() : Operator("multiply", 2) {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    const bool one_pixel = in[1].h == 1 && in[1].w == 1 && !in[0].flat;
    const bool same = in[0].h == in[1].h && in[0].w == in[1].w && in[0].flat == in[1].flat;
    want(in[0].c == in[1].c && (one_pixel || same), node,
         "multiplies by a map of another shape, which is no number a channel");
    return in[0];
  }

  bool reads_values(bool) const override { return true; }
  std::int64_t backward_floats(const StepOf& of) const override { return of.in().image(); }

  void forward(const ImageStep& run) const override {
    run.pass.table().multiply_views(seen(run, 0), seen(run, 1), run.pass.result(run));
  }

  void backward(const ImageStep& run, std::size_t input, const float* gradient,
                const Finish& put) const override {
    const Tensor &in = run.of.in(input), &out = run.of.out();
    const ImageView other = seen(run, 1 - input);
    if (in.h * in.w < out.h * out.w) {
      run.pass.table().pixel_products(other, gradient, run.scratch);
    } else {
      run.pass.table().multiply_views({gradient, out.h, out.w, out.stride, {}}, other, run.scratch);
    }
    run.pass.table().finish_region(put, run.scratch, in.h, in.w, {0, 0, 1, 1});
  }

 private:
  static ImageView seen(const ImageStep& run, std::size_t input) {
    return run.pass.seen(run.of.step.in[input], run.image);
  }
};

const Multiply multiply;

}  // namespace

const Operator& multiply_operator = multiply;

}  // namespace pyedge
