// Every kernel's source, for the Vec that the including isa_*.cpp has chosen.
//
// Such a file is compiled with flags like -mavx512f, which let the compiler use those
// instructions anywhere in it. So nothing in it may have external linkage but its table: an
// inline function shared with other files could be kept in this file's version by the linker,
// and crash a CPU without them. Hence anonymous namespaces throughout, and no templates of the
// standard library.
#pragma once

#include "simd/tables.hpp"

#include "kernels/cosine_match.simd.hpp"
#include "kernels/plain_sum.simd.hpp"
#include "kernels/zero_count.simd.hpp"

namespace {

constexpr pyedge::KernelTable make_table() {
  return {Vec::name,
          Vec::wide_lanes,
          plain_sum,
          zero_count_rows,
          zero_count_affine_rows,
          zero_count_pixels,
          zero_count_affine_pixels,
          match_rows,
          match_pixels,
          gradient_row,
          gradient_pixels};
}

}  // namespace
