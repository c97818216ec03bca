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
#include "kernels/conv/depthwise.simd.hpp"
#include "kernels/conv/winograd.simd.hpp"
#include "kernels/layers/activations.simd.hpp"
#include "kernels/layers/compact_map.simd.hpp"
#include "kernels/layers/layers.simd.hpp"
#include "kernels/layers/mask_map.simd.hpp"
#include "kernels/match/match_map.simd.hpp"

namespace {

// By name, so that no two of one type can be swapped unseen; csrc/tests/test_runtime.cpp finds one
// that is missing.
constexpr pyedge::KernelTable make_table() {
  pyedge::KernelTable t{};
  t.name = Vec::name;
  t.wide_lanes = Vec::wide_lanes;
  t.lanes = Vec::lanes;
  t.mask_bytes = sizeof(Vec::Bits);
  t.tile_vectors = Vec::tile_vectors;
  t.plain_sum = plain_sum;
  t.zero_count_rows = zero_count_rows;
  t.zero_count_affine_rows = zero_count_affine_rows;
  t.zero_count_pixels = zero_count_pixels;
  t.zero_count_affine_pixels = zero_count_affine_pixels;
  t.match_rows = match_rows;
  t.match_pixels = match_pixels;
  t.gradient_row = gradient_row;
  t.gradient_pixels = gradient_pixels;
  t.moment_columns = moment_columns;
  t.pack_moments = pack_moments;
  t.add_moments = add_moments;
  t.gemm_pixels = gemm_pixels;
  t.gemm_channels = gemm_channels;
  t.depthwise = depthwise;
  t.depthwise_input_gradient = depthwise_input_gradient;
  t.depthwise_weight_gradient = depthwise_weight_gradient;
  t.copy_region = copy_region;
  t.finish_region = finish_region;
  t.winograd_input = winograd_input;
  t.winograd_gradient = winograd_gradient;
  t.winograd_output = winograd_output;
  t.winograd_weights = winograd_weights;
  t.winograd_weight_gradient = winograd_weight_gradient;
  t.add_views = add_views;
  t.activate = activate;
  t.activation_gradient = activation_gradient;
  t.multiply_views = multiply_views;
  t.pixel_products = pixel_products;
  t.average_pool = average_pool;
  t.max_pool = max_pool;
  t.average_pool_backward = average_pool_backward;
  t.max_pool_backward = max_pool_backward;
  t.global_average = global_average;
  t.spread_average = spread_average;
  t.pad_channels = pad_channels;
  t.unpad_channels = unpad_channels;
  t.average_tiles_backward = average_tiles_backward;
  t.channel_sums = channel_sums;
  t.combine = combine;
  t.map_sums = map_sums;
  t.compact_map = compact_map;
  t.restore_map = restore_map;
  t.mask_map = mask_map;
  t.map_gradient = map_gradient;
  return t;
}

}  // namespace
