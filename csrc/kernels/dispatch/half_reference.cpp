// Half precision, emulated.
#include "simd/half_reference.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/half.simd.hpp"

namespace pyedge {

const HalfKernels half_reference = make_half_kernels();

}  // namespace pyedge
