// Convolutions and linear layers: the steps that go through the images themselves, and take along
// what touches an image before or after them. A linear layer is a convolution by a window as large
// as its map.
#pragma once

#include <cstdint>
#include <string>

#include "engine/network.hpp"
#include "engine/steps/operator.hpp"
#include "kernels/conv/conv_shape.hpp"
#include "kernels/conv/per_image.hpp"

namespace pyedge {

ConvShape conv_shape(const StepOf& of, std::int64_t images);
// Floats of the packed copies that the step needs.
std::int64_t packed_floats(const Plan& plan, int step);
std::int64_t packed_floats(const Plan& plan, const BackwardStep& backward);

// The result of the pass's images, and `along` with each of them.
void pack_forward(Pass& pass, int step, float* scratch);
void convolve(Pass& pass, int step, float* scratch, const PerImage& along);
// What becomes of the first image's result, which is a tensor's: bias and residual are added.
Finish result_of(const Pass& pass, int step);
// The gradient of the input, by `put`.
void input_gradient(Pass& pass, const BackwardStep& backward, const Finish& put,
                    const std::string& name, const PerImage& along);

}  // namespace pyedge
