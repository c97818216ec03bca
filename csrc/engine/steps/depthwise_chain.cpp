#include "engine/steps/depthwise_chain.hpp"

#include <algorithm>

#include "engine/pass.hpp"
#include "engine/planner.hpp"
#include "engine/steps/convolution.hpp"
#include "engine/steps/depthwise.hpp"
#include "engine/steps/depthwise_bands.hpp"

namespace pyedge {
namespace {

// An image's map of fewer floats is in a cache anyway, and its few rows are too few for a matrix
// product: the weights were read again for each band.
constexpr std::int64_t least_floats = 1 << 15;
// Pixels of a matrix product at a time.
constexpr std::int64_t least_pixels = 168;
// Rows of output that a part of an image has at the least: its first rows' input is made twice.
constexpr std::int64_t least_part = 8;

bool pointwise(const StepOf& of) {
  return of.step.op->convolves() && !of.step.op->linear() && of.out().h * of.out().w > 1 &&
         conv_shape(of, 1).pointwise();
}

// The wide maps of a chain, in a worker's scratch memory.
struct ChainMemory {
  DepthwiseBands bands;
  std::int64_t lines = 0;  // rows of the first convolution's result at a time
  std::int64_t made = 0, result = 0;

  ChainMemory(const Chain& chain, const StepOf& depthwise)
      : bands(DepthwiseBands::forward(depthwise)) {
    const Tensor &in = depthwise.in(), &out = depthwise.out();
    if (chain.from >= 0) {
      lines = std::min((least_pixels + in.w - 1) / in.w, in.h);
      made = lines * in.w * in.stride;
    }
    if (chain.to >= 0) result = bands.rows * out.w * out.stride;
  }
  std::int64_t floats() const { return bands.floats() + made + result; }
};

class ChainRun {
 public:
  ChainRun(Pass& pass, const Chain& chain)
      : pass_(pass),
        net_(pass.network()),
        chain_(chain),
        of_(net_.of(chain.depthwise)),
        memory_(chain, of_),
        window_(depthwise_window(of_, weights().data())) {}

  // Of `parts` of an image's rows of output.
  void run(std::int64_t image, std::int64_t part, int worker) const {
    const DepthwiseBands& bands = memory_.bands;
    const std::int64_t first = bands.h * part / chain_.parts;
    const std::int64_t end = bands.h * (part + 1) / chain_.parts;
    float* ring = pass_.scratch(chain_.depthwise) + worker * worker_floats(memory_.floats());
    float *made = ring + bands.floats(), *result = made + memory_.made;
    bands.each(
        first, end, ring,
        [&](std::int64_t row, std::int64_t count, float* to) {
          if (chain_.from < 0)
            return bands.copy(table(), pass_.seen(view(), image), row, count, to);
          make(image, row, count, bands.seen_by(first), worker, made, to);
        },
        [&](const DepthwiseBand& band) { slide(image, band, worker, result); });
  }

 private:
  const View& view() const { return of_.step.in[0]; }
  const Buffer& weights() const {
    return net_.parameters[net_.weights[at(chain_.depthwise)].weight].values;
  }
  const KernelTable& table() const { return pass_.table(); }

  // Rows of the first convolution's result, made here, with their border. Rows before `own` are
  // another part's too, which notes their masks.
  void make(std::int64_t image, std::int64_t row, std::int64_t count, std::int64_t own, int worker,
            float* made, float* to) const {
    const Tensor& t = of_.in();
    const Tensor& in = net_.of(chain_.from).in();
    while (count > 0) {
      const std::int64_t first = std::clamp<std::int64_t>(row, 0, t.h);
      const std::int64_t end = std::clamp<std::int64_t>(row + count, 0, t.h);
      const std::int64_t lines = std::min(end - first, memory_.lines);
      if (lines > 0) {
        const Finish put = product(chain_.from, made);
        multiply(chain_.from,
                 pass_.seen(net_.of(chain_.from).step.in[0], image).data + first * in.w * in.stride,
                 put, lines * t.w, worker);
        const std::int64_t skipped = std::clamp<std::int64_t>(own - first, 0, lines);
        note_mask(view().tensor, image, first + skipped, lines - skipped,
                  made + skipped * t.w * t.stride);
      }
      const std::int64_t now = first + lines < end ? first + lines - row : count;
      memory_.bands.copy(table(), {made, lines, t.w, t.stride, pass_.lens(view())}, row - first,
                         now, to);
      row += now, count -= now, to += now * memory_.bands.in_row;
    }
  }

  void slide(std::int64_t image, DepthwiseBand band, int worker, float* result) const {
    const Tensor& out = of_.out();
    const std::int64_t row = band.top;
    if (chain_.to < 0) {
      return table().depthwise(band, window_,
                               result_of(pass_, chain_.depthwise).at(image * out.image()));
    }
    band.top = 0;
    table().depthwise(band, window_, product(chain_.depthwise, result));
    note_mask(of_.step.out, image, row, band.rows, result);
    const Tensor& last = net_.of(chain_.to).out();
    const Finish put = result_of(pass_, chain_.to);
    multiply(chain_.to, result, put.at(image * last.image() + row * last.w * last.stride),
             band.rows * last.w, worker);
  }

  // A step's result that is no tensor's, with what is added to it.
  Finish product(int step, float* to) const {
    const Tensor& out = net_.of(step).out();
    Finish put(to, out.w * out.stride, out.stride);
    put.bias = net_.bias(step);
    return put;
  }

  void multiply(int step, const float* from, const Finish& put, std::int64_t pixels,
                int worker) const {
    const ConvForward& how = pass_.plan().forward[at(step)];
    how.run_pixels(from, pass_.lens(net_.of(step).step.in[0]),
                   net_.weights[at(step)].forward.data(), put, pixels,
                   pass_.scratch(step) + worker * how.worker_floats());
  }

  void note_mask(int tensor, std::int64_t image, std::int64_t row, std::int64_t rows,
                 const float* values) const {
    if (rows == 0 || pass_.plan().mask_at[at(tensor)] < 0) return;
    const Tensor& t = net_.tensor(tensor);
    const std::int64_t vectors = row * t.w * t.stride / table().lanes;
    table().mask_map({values, rows, t.w, t.stride, pass_.lens(pass_.plan().masked[at(tensor)])},
                     pass_.mask(tensor, image) + vectors * table().mask_bytes);
  }

  Pass& pass_;
  const Network& net_;
  const Chain& chain_;
  StepOf of_;  // the depthwise convolution
  ChainMemory memory_;
  DepthwiseWindow window_;
};

}  // namespace

std::vector<Chain> find_chains(const Graph& graph, const Program& program, const Needs& needs,
                               std::int64_t images, int workers) {
  std::vector<Chain> found;
  std::vector<bool> taken(program.steps.size());
  const auto of = [&](int step) { return StepOf{graph, program, program.steps[at(step)]}; };
  const auto fits = [&](int step, int tensor) {
    return step >= 0 && !taken[at(step)] && pointwise(of(step)) &&
           program.tensors[at(tensor)].image() >= least_floats;
  };
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    if (step.op != &depthwise_operator) continue;
    Chain chain;
    chain.depthwise = static_cast<int>(i);
    const int input = step.in[0].tensor, maker = program.tensors[at(input)].producer;
    if (fits(maker, input) && program.steps[at(maker)].residual.tensor < 0 &&
        needs.passing_reader(input) == chain.depthwise) {
      chain.from = maker;
    }
    const int reader = needs.passing_reader(step.out);
    if (fits(reader, step.out)) chain.to = reader;
    if (chain.from < 0 && chain.to < 0) continue;
    for (const int each : {chain.from, chain.to}) {
      if (each >= 0) taken[at(each)] = true;
    }
    const std::int64_t wanted = images < workers ? (workers + images - 1) / images : 1;
    chain.parts = std::clamp<std::int64_t>(program.tensors[at(step.out)].h / least_part, 1, wanted);
    found.push_back(chain);
  }
  return found;
}

std::int64_t chain_floats(const Chain& chain, const Planner& planner) {
  return ChainMemory(chain, planner.of(chain.depthwise)).floats();
}

void run_chain(Pass& pass, const Chain& chain, const PerImage& along) {
  const ChainRun run(pass, chain);
  along.around_bands(
      pass.images(), chain.parts,
      [&](std::int64_t image, std::int64_t part, int worker) { run.run(image, part, worker); });
}

}  // namespace pyedge
