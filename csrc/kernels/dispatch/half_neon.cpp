// Half precision, compiled for BFDOT: see CMakeLists.txt for this file's flags.
#include "simd/half_neon.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/half.simd.hpp"

namespace pyedge {

const HalfKernels half_neon = make_half_kernels();

}  // namespace pyedge
