// Which instruction sets this build has and this CPU can run, and the one in use.
#pragma once

#include <string>
#include <vector>

#include "kernels/dispatch/half_kernels.hpp"
#include "kernels/dispatch/int8_kernels.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

// Names of the paths that this CPU can run, slowest first; "reference" is always there.
std::vector<std::string> available_isas();

// The path in use. Chosen once, at first use: the last of available_isas(), or the one that the
// environment variable PYEDGE_ISA names. Throws std::invalid_argument if that cannot be had.
const KernelTable& kernel_table();

// The half-precision kernels of a path on this CPU, or null where it has none.
const HalfKernels* half_kernels(const KernelTable& table);
// The same for 8 bits.
const Int8Kernels* int8_kernels(const KernelTable& table);

// Takes another path from here on (tests and benchmarks). Throws std::invalid_argument if `name`
// is not one of available_isas(); the path in use stays then.
void set_isa(const std::string& name);

}  // namespace pyedge
