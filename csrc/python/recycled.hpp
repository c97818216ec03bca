// Large arrays whose memory is used again once Python has let go of them.
#pragma once

#include "python/arrays.hpp"

// An uninitialised array of the shape and memory layout of `like`.
//
// A gradient of 41 MB, made and dropped in every step, goes back to the system each time, and its
// 10,000 pages are faulted in and cleared again: 14 ms for a gradient that takes 4 ms to compute.
// Blocks from 1 MB on are therefore kept, 256 MB of them at most, the latest first.
FloatArray recycled_like(const FloatArray& like);
