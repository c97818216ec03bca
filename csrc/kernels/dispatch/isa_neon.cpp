// The kernels, compiled for neon: see CMakeLists.txt for this file's flags.
#include "simd/vec_neon.hpp"

#include "kernels/dispatch/isa.inl.hpp"

namespace pyedge {

const KernelTable neon_table = make_table();

}  // namespace pyedge
