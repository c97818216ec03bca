// Convolution of a batch and its two gradients: direct, as a matrix product, or by Winograd's
// F(4x4, 3x3). Linear layers are convolutions whose kernel covers the image.
//
// Maps are NHWC, a pixel's channels padded to whole vectors (see region.hpp). Weights are
// [tap, c_in / groups, out_stride], tap = kernel row * kernel_w + kernel column. Nothing is
// allocated: the caller brings scratch memory. Results do not depend on the number of threads.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/conv/channel_panels.hpp"
#include "kernels/conv/conv_shape.hpp"
#include "kernels/conv/group_weight_gradient.hpp"
#include "kernels/conv/per_image.hpp"
#include "kernels/conv/region.hpp"
#include "kernels/conv/winograd_forward.hpp"
#include "kernels/conv/winograd_weight_gradient.hpp"
#include "kernels/dispatch/kernel_table.hpp"

namespace pyedge {

// Floats of an item's bordered input: with the output it stays in a second-level cache of 1 MB.
constexpr std::int64_t region_floats = 1 << 16;

enum class Numbers { float32, bits16, bits8 };  // what is multiplied

// One way of computing a convolution-like product for a fixed shape. `workers` is the number of
// threads that may run; scratch grows with it. `half`, `int8`: in half precision or in 8 bits,
// unless there are groups, or more products in a sum than int32 holds; what is packed is read by
// that precision and scale of the input alone.
class ConvForward {
 public:
  ConvForward() = default;
  ConvForward(const ConvShape& shape, const KernelTable& table, int workers,
              const HalfKernels* half = nullptr, const Int8Forward& int8 = {});
  bool winograd() const { return winograd_; }
  bool half() const { return half_ != nullptr; }
  bool int8() const { return int8_.kernels != nullptr; }
  Numbers numbers() const {
    return half() ? Numbers::bits16 : int8() ? Numbers::bits8 : Numbers::float32;
  }
  std::int64_t packed_floats() const;
  std::int64_t pack_scratch_floats() const { return winograd_ ? tiles_.pack_scratch_floats() : 0; }
  std::int64_t scratch_floats() const {
    return winograd_ ? tiles_.scratch_floats() : scratch_floats_;
  }
  void pack(const float* weights, float* packed, float* scratch) const;
  // finish.out is the first image's
  void run(const float* input, const Lens& lens, const float* packed, const Finish& finish,
           float* scratch, const PerImage& per_image = {}) const;
  // Of a pointwise one: so many pixels that follow each other, on one thread, in `scratch` memory
  // of worker_floats().
  void run_pixels(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                  std::int64_t pixels, float* scratch) const {
    run_rows(input, lens, packed, finish, 0, pixels, scratch);
  }
  std::int64_t worker_floats() const { return worker_floats_; }

 private:
  friend class ConvInputGradient;
  struct Matrix {  // rows that are pixels (1x1) or whole images
    bool on;
    std::int64_t rows_an_image, step, a_step;  // floats, and of its copy
  };
  void run_band(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                std::int64_t image, std::int64_t first, float* region) const;
  void run_matrix(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                  float* scratch, const PerImage& per_image) const;
  void run_rows(const float* input, const Lens& lens, const float* packed, const Finish& finish,
                std::int64_t first, std::int64_t end, float* region) const;
  void copy(const Region& region) const {
    if (int8()) return int8_.kernels->copy_region(region, int8_.input);
    (half_ != nullptr ? half_->copy_region : table_->copy_region)(region);
  }

  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  const HalfKernels* half_ = nullptr;
  Int8Forward int8_;
  int workers_ = 1;
  ChannelPanels panels_;
  std::int64_t pixel_ = 0;  // floats, pairs or quads, of a copied pixel
  bool winograd_ = false;
  WinogradForward tiles_;
  Matrix matrix_{};
  std::int64_t band_ = 0, columns_ = 0, region_rows_ = 0;  // rows of output an item
  std::int64_t worker_floats_ = 0, scratch_floats_ = 0;
  std::vector<std::int64_t> tap_offsets_;
};

// From the output's gradient to the input's.
class ConvInputGradient {
 public:
  ConvInputGradient() = default;
  ConvInputGradient(const ConvShape& shape, const KernelTable& table, int workers,
                    const HalfKernels* half = nullptr);
  bool winograd() const { return winograd_; }
  bool half() const { return half_ != nullptr; }
  Numbers numbers() const { return half() ? Numbers::bits16 : Numbers::float32; }
  std::int64_t packed_floats() const;
  std::int64_t pack_scratch_floats() const;
  std::int64_t scratch_floats() const { return scratch_floats_; }
  void pack(const float* weights, float* packed, float* scratch) const;
  // finish.out is the first image's gradient of the input
  void run(const float* gradient, const float* packed, const Finish& finish, float* scratch,
           const PerImage& per_image = {}) const;

 private:
  std::int64_t turned_floats() const { return s_.taps() * (s_.c_out / s_.groups) * s_.in_stride; }
  void run_band(const float* gradient, const float* packed, const Finish& finish,
                std::int64_t image, std::int64_t first, float* region) const;

  // A residue class of input pixels: all of them see the same taps.
  struct Phase {
    std::int64_t top, left, rows, columns;
    std::vector<std::int64_t> taps, offsets;
  };
  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  const HalfKernels* half_ = nullptr;
  std::int64_t pixel_ = 0;  // floats, or pairs, of a copied pixel
  bool winograd_ = false;
  ChannelPanels panels_;  // of the input's channels
  ConvForward mirrored_;  // Winograd, and matrix products: a forward with turned weights
  bool as_forward_ = false;
  std::vector<Phase> phases_;
  std::int64_t band_ = 0, region_rows_ = 0, region_columns_ = 0, top_ = 0, left_ = 0;
  std::int64_t worker_floats_ = 0, scratch_floats_ = 0;
};

// From input and output gradient to the weights' gradient [tap, c_in / groups, out_stride], which
// it adds to.
class ConvWeightGradient {
 public:
  ConvWeightGradient() = default;
  ConvWeightGradient(const ConvShape& shape, const KernelTable& table, int workers);
  bool winograd() const { return winograd_; }
  std::int64_t scratch_floats() const {
    return winograd_ ? tiles_.scratch_floats() : scratch_floats_;
  }
  void run(const float* input, const Lens& lens, const float* gradient, float* weights,
           float* scratch) const;

 private:
  ConvShape s_{};
  const KernelTable* table_ = nullptr;
  bool winograd_ = false, matrix_ = false;
  WinogradWeightGradient tiles_;
  GroupWeightGradient groups_;
  std::int64_t chunk_ = 1;  // images, or rows of a matrix
  std::int64_t region_rows_ = 0, region_columns_ = 0, scratch_floats_ = 0;
};

}  // namespace pyedge
