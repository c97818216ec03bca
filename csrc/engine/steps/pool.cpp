// Average and maximum over windows.
#include <algorithm>

#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

PoolWindow window(const StepOf& of) {
  const Node& node = of.node();
  return {node.kernel[0],  node.kernel[1],  node.stride[0], node.stride[1],
          node.padding[0], node.padding[1], of.out().h,     of.out().w};
}

class Pool : public Operator {
 public:
  using Operator::Operator;

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    want(!in[0].flat, node, "pools a flat map");
    check_window(node);
    want(node.dilation == Pair{1, 1}, node, "pools with a dilation");
    want(2 * node.padding[0] <= node.kernel[0] && 2 * node.padding[1] <= node.kernel[1], node,
         "has a padding of more than half its window");
    return {in[0].c, slid(node, in[0].h, 0), slid(node, in[0].w, 1)};
  }

  Rides rides() const override { return Rides::behind_maker; }
  std::int64_t backward_floats(const StepOf& of) const override { return of.in().image(); }
};

class AvgPool : public Pool {
 public:
  AvgPool() : Pool("avg_pool") {}

  std::int64_t backward_floats(const StepOf& of) const override {
    return tiles(of) ? 0 : Pool::backward_floats(of);
  }

  void forward(const ImageStep& run) const override {
    run.pass.table().average_pool(run.pass.seen(run.of.step.in[0], run.image), window(run.of),
                                  run.pass.result(run));
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const KernelTable& table = run.pass.table();
    if (tiles(run.of)) return table.average_tiles_backward(gradient, window(run.of), put);
    const Tensor& in = run.of.in();
    std::fill_n(run.scratch, in.image(), 0.0f);
    table.average_pool_backward(run.pass.seen(run.of.step.in[0], run.image), window(run.of),
                                gradient, run.scratch);
    table.finish_region(put, run.scratch, in.h, in.w, {0, 0, 1, 1});
  }

 private:
  // Every pixel lies in exactly one window, so that no values are needed in between.
  static bool tiles(const StepOf& of) {
    const PoolWindow p = window(of);
    return p.kernel_h == p.stride_h && p.kernel_w == p.stride_w && p.padding_h == 0 &&
           p.padding_w == 0 && p.out_h * p.kernel_h == of.in().h &&
           p.out_w * p.kernel_w == of.in().w;
  }
};

class MaxPool : public Pool {
 public:
  MaxPool() : Pool("max_pool") {}

  bool reads_values(bool) const override { return true; }

  void forward(const ImageStep& run) const override {
    run.pass.table().max_pool(run.pass.seen(run.of.step.in[0], run.image), window(run.of),
                              run.pass.result(run));
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const Tensor& in = run.of.in();
    std::fill_n(run.scratch, in.image(), 0.0f);
    run.pass.table().max_pool_backward(run.pass.seen(run.of.step.in[0], run.image), window(run.of),
                                       gradient, run.scratch);
    run.pass.table().finish_region(put, run.scratch, in.h, in.w, {0, 0, 1, 1});
  }
};

}  // namespace

static const AvgPool avg_pool;
const Operator& avg_pool_operator = avg_pool;
static const MaxPool max_pool;
const Operator& max_pool_operator = max_pool;

}  // namespace pyedge
