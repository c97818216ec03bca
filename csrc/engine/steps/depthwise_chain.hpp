// A depthwise convolution and the pointwise ones around it, band by band of an image. A MobileNet's
// block widens its map six times and narrows it again; each wide map is read once, and is larger
// than all caches: 4.8 MB an image of 112 x 112 pixels. Here it never is in memory.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/needs.hpp"
#include "engine/plan.hpp"
#include "engine/program.hpp"
#include "engine/steps/operator.hpp"
#include "kernels/conv/per_image.hpp"

namespace pyedge {

class Pass;
class Planner;

// For micro-batches of `images`. No convolution is in two.
std::vector<Chain> find_chains(const Graph& graph, const Program& program, const Needs& needs,
                               std::int64_t images, int workers);
// Of scratch memory for each worker.
std::int64_t chain_floats(const Chain& chain, const Planner& planner);
// The result of the last step, and `along` with each image.
void run_chain(Pass& pass, const Chain& chain, const PerImage& along);

}  // namespace pyedge
