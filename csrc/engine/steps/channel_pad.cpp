// Channels put at other places, zeros between them: the shortcut's change of width.
#include <algorithm>
#include <functional>

#include "engine/lowering.hpp"
#include "engine/pass.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"
#include "kernels/match/cosine_match.hpp"

namespace pyedge {
namespace {

// See ChannelPlaces. Empty where positions do not rise one after another.
std::vector<LaneStep> lane_steps(const std::vector<std::int32_t>& position, std::int64_t out_stride,
                                 const KernelTable& table) {
  const std::vector<std::int64_t> kept(position.begin(), position.end());
  const bool rise =
      std::adjacent_find(kept.begin(), kept.end(), std::greater_equal<>()) == kept.end();
  if (!rise || kept.empty() || kept.front() < 0) return {};
  return ChannelMap(kept.data(), static_cast<std::int64_t>(kept.size()), out_stride, table).steps;
}

ChannelPlaces places(const StepOf& of) {
  const std::vector<std::int32_t>& position = of.node().position;
  const std::vector<LaneStep>& steps = of.step.lane_steps;
  return {position.data(), steps.empty() ? nullptr : steps.data(),
          static_cast<std::int64_t>(position.size())};
}

class ChannelPad : public Operator {
 public:
  ChannelPad() : Operator("channel_pad") {}

  Dims shape(const Graph&, const Node& node, const std::vector<Dims>& in) const override {
    want_channels(node, in[0]);
    want(static_cast<std::int64_t>(node.position.size()) == in[0].c, node,
         "wants one position for each channel");
    want(node.channels >= 1 && node.channels <= largest_size, node, "has a bad number of channels");
    std::vector<bool> taken(static_cast<std::size_t>(node.channels));
    for (const std::int32_t p : node.position) {
      want(p >= -1 && p < node.channels, node, "has a position out of range");
      if (p < 0) continue;
      want(!taken[static_cast<std::size_t>(p)], node, "has a position twice");
      taken[static_cast<std::size_t>(p)] = true;
    }
    return {node.channels, in[0].h, in[0].w, in[0].flat};
  }

  View lower(Lowering& lowering, int node) const override {
    const View made = Operator::lower(lowering, node);
    lowering.last_step().lane_steps = lane_steps(lowering.graph().nodes[at(node)].position,
                                                 lowering.stride(made), lowering.table());
    return made;
  }

  bool ends() const override { return true; }
  Rides rides() const override { return Rides::before_adder; }

  std::int64_t forward_floats(const StepOf& of) const override { return of.in().stride; }
  std::int64_t backward_floats(const StepOf& of) const override { return of.in().image(); }

  void forward(const ImageStep& run) const override {
    run.pass.table().pad_channels(run.pass.seen(run.of.step.in[0], run.image), places(run.of),
                                  run.pass.result(run), run.of.out().stride, run.scratch);
  }

  void backward(const ImageStep& run, std::size_t, const float* gradient,
                const Finish& put) const override {
    const Tensor& in = run.of.in();
    const KernelTable& table = run.pass.table();
    table.unpad_channels(gradient, in.h * in.w, run.of.out().stride, places(run.of), run.scratch,
                         in.stride);
    table.finish_region(put, run.scratch, in.h, in.w, {0, 0, 1, 1});
  }
};

}  // namespace

static const ChannelPad channel_pad;
const Operator& channel_pad_operator = channel_pad;

}  // namespace pyedge
