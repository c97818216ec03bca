// Convolution of a batch and its two gradients: direct, as a matrix product, or by Winograd's
// F(4x4, 3x3). Linear layers are convolutions whose kernel covers the image.
//
// Maps are NHWC, a pixel's channels padded to whole vectors (see region.hpp). Weights are
// [tap, c_in, out_stride], tap = kernel row * kernel_w + kernel column. Nothing is allocated: the
// caller brings scratch memory. Results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/region.hpp"
#include "simd/kernel_table.hpp"

namespace pyedge {

struct ConvShape {
  std::int64_t n;
  std::int64_t c_in, h, w, in_stride;
  std::int64_t c_out, out_h, out_w, out_stride;
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;

  std::int64_t taps() const { return kernel_h * kernel_w; }
  std::int64_t in_image() const { return h * w * in_stride; }
  std::int64_t out_image() const { return out_h * out_w * out_stride; }
  std::int64_t weight_floats() const { return taps() * c_in * out_stride; }
  // Winograd's tiles, the last ones reaching over the edge.
  std::int64_t tiles_h() const { return (out_h + 3) / 4; }
  std::int64_t tiles_w() const { return (out_w + 3) / 4; }
  bool unpadded() const { return padding_h == 0 && padding_w == 0; }
  // Each output pixel comes from one input pixel, the one at its place.
  bool pointwise() const { return taps() == 1 && stride_h == 1 && stride_w == 1 && unpadded(); }
  // A linear layer: one output pixel, from all of the image.
  bool covers_image() const {
    return kernel_h == h && kernel_w == w && dilation_h == 1 && dilation_w == 1 && unpadded();
  }
};

// Floats of an item's bordered input: with the output it stays in a second-level cache of 1 MB.
constexpr std::int64_t region_floats = 1 << 16;

// One way of computing a convolution-like product for a fixed shape. `workers` is the number of
// threads that may run; scratch grows with it.
class ConvForward {
 public:
  ConvForward() = default;
  ConvForward(const ConvShape& shape, const KernelTable& table, int workers);
  bool winograd() const { return winograd_; }
  std::int64_t packed_floats() const;
  std::int64_t scratch_floats() const { return scratch_floats_; }
  void pack(const float* weights, float* packed) const;
  // finish.out is the first image's
  void run(const float* input, const Lens& lens, const float* packed, const Finish& finish,
           float* scratch) const;

 private:
  friend class ConvInputGradient;
  struct Matrix {  // rows that are pixels (1x1) or whole images
    bool on;
    std::int64_t rows, a_step;
  };
  void run_direct(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                  float* scratch) const;
  void run_matrix(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                  float* scratch) const;
  void run_winograd(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                    float* scratch) const;

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  bool winograd_ = false;
  Matrix matrix_{};
  std::int64_t band_ = 0, columns_ = 0, region_rows_ = 0;  // rows of output (tile rows) an item
  std::int64_t images_per_item_ = 1;
  std::int64_t worker_floats_ = 0, scratch_floats_ = 0;
  std::vector<std::int64_t> tap_offsets_;
};

// From the output's gradient to the input's.
class ConvInputGradient {
 public:
  ConvInputGradient() = default;
  ConvInputGradient(const ConvShape& shape, const KernelTable& table, int workers);
  bool winograd() const { return winograd_; }
  std::int64_t packed_floats() const;
  std::int64_t pack_scratch_floats() const;
  std::int64_t scratch_floats() const { return scratch_floats_; }
  void pack(const float* weights, float* packed, float* scratch) const;
  // finish.out is the first image's gradient of the input
  void run(const float* gradient, const float* packed, const Finish& finish, float* scratch) const;

 private:
  // A residue class of input pixels: all of them see the same taps.
  struct Phase {
    std::int64_t top, left, rows, columns;
    std::vector<std::int64_t> taps, offsets;
  };
  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  bool winograd_ = false;
  ConvForward mirrored_;  // Winograd, and matrix products: a forward with turned weights
  bool as_forward_ = false;
  std::vector<Phase> phases_;
  std::int64_t band_ = 0, region_rows_ = 0, region_columns_ = 0, top_ = 0, left_ = 0;
  std::int64_t worker_floats_ = 0, scratch_floats_ = 0;
};

// From input and output gradient to the weights' gradient [tap, c_in, out_stride], which it adds
// to.
class ConvWeightGradient {
 public:
  ConvWeightGradient() = default;
  ConvWeightGradient(const ConvShape& shape, const KernelTable& table, int workers);
  bool winograd() const { return winograd_; }
  std::int64_t scratch_floats() const { return scratch_floats_; }
  void run(const float* input, const Lens& lens, const float* gradient, float* weights,
           float* scratch) const;

 private:
  void run_direct(const float* input, const Lens& lens, const float* gradient, float* weights,
                  float* scratch) const;
  void run_winograd(const float* input, const Lens& lens, const float* gradient, float* weights,
                    float* scratch) const;
  void transform_gradient(const float* gradient, std::int64_t images, float* scratch) const;
  void transform_input(const float* input, const Lens& lens, std::int64_t images, std::int64_t c,
                       float* scratch) const;
  void add_products(std::int64_t images, std::int64_t c, float* weights, float* scratch) const;

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  bool winograd_ = false, matrix_ = false;
  std::int64_t chunk_ = 1;  // images, or rows of a matrix
  std::int64_t block_ = 0;  // input channels that Winograd takes at a time
  // in the scratch memory, behind the patches
  std::int64_t slopes_at_ = 0, sums_at_ = 0, regions_at_ = 0;
  std::int64_t region_rows_ = 0, region_columns_ = 0, worker_floats_ = 0, scratch_floats_ = 0;
};

// Whether the tile's transforms cost less than the multiplications that they save.
bool winograd_pays(const ConvShape& shape);

}  // namespace pyedge
