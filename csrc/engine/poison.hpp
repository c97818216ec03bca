// For tests: NaN in every part of the arena that nothing lives in, so that whoever reads what is
// not there any more, or not yet, says so in its results.
#pragma once

#include "engine/plan.hpp"

namespace pyedge {

// The environment variable PYEDGE_POISON_ARENA is set, to anything but 0. Read once.
bool poisons_arena();

// Before the step of that time, counted as in a plan: keeps what an earlier step made and this one
// or a later one reads.
void poison(const Plan& plan, int time, float* arena);

}  // namespace pyedge
