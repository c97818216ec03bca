// 8-bit inference, compiled for SDOT: see CMakeLists.txt for this file's flags.
#include "simd/int8_neon.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/int8.simd.hpp"

namespace pyedge {

const Int8Kernels int8_neon = make_int8_kernels();

}  // namespace pyedge
