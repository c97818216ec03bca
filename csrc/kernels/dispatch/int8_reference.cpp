// 8-bit inference, emulated.
#include "simd/int8_reference.hpp"

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/int8.simd.hpp"

namespace pyedge {

const Int8Kernels int8_reference = make_int8_kernels();

}  // namespace pyedge
