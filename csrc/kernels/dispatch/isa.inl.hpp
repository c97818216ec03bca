// Every kernel's source, for the Vec that the including isa_*.cpp has chosen.
//
// Such a file is compiled with flags like -mavx512f, which let the compiler use those
// instructions anywhere in it. So nothing in it may have external linkage but its table: an
// inline function shared with other files could be kept in this file's version by the linker,
// and crash a CPU without them. Hence anonymous namespaces throughout, and no templates of the
// standard library.
#pragma once

#include "kernels/dispatch/tables.hpp"

#include "kernels/conv/gemm.simd.hpp"
#include "kernels/conv/region.simd.hpp"
#include "kernels/match/cosine_match.simd.hpp"
#include "kernels/sums/plain_sum.simd.hpp"
#include "kernels/sums/second_moments.simd.hpp"
#include "kernels/sums/zero_count.simd.hpp"
// these stand on region.simd.hpp
#include "kernels/conv/winograd.simd.hpp"
#include "kernels/layers/compact_map.simd.hpp"
#include "kernels/layers/layers.simd.hpp"
#include "kernels/match/match_map.simd.hpp"

namespace {

constexpr pyedge::KernelTable make_table() {
  return {Vec::name,
          Vec::wide_lanes,
          Vec::lanes,
          Vec::tile_vectors,
          plain_sum,
          zero_count_rows,
          zero_count_affine_rows,
          zero_count_pixels,
          zero_count_affine_pixels,
          match_rows,
          match_pixels,
          gradient_row,
          gradient_pixels,
          moment_columns,
          pack_moments,
          add_moments,
          gemm_pixels,
          gemm_channels,
          copy_region,
          finish_region,
          winograd_input,
          winograd_gradient,
          winograd_output,
          winograd_weights,
          winograd_weight_gradient,
          add_views,
          average_pool,
          max_pool,
          average_pool_backward,
          max_pool_backward,
          global_average,
          spread_average,
          pad_channels,
          unpad_channels,
          average_tiles_backward,
          channel_sums,
          combine,
          map_sums,
          compact_map,
          restore_map,
          map_gradient};
}

}  // namespace
