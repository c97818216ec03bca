// Convolution, forward: by matrix product, band by band of an image, or by Winograd's transforms.
#include <algorithm>

#include "kernels/conv/conv2d.hpp"
#include "kernels/conv/int8_weights.hpp"
#include "kernels/conv/winograd.hpp"
#include "threads/thread_pool.hpp"

namespace pyedge {
namespace {

// Rows of a matrix product an item: a multiple of every path's tile.
constexpr std::int64_t matrix_rows = 168;

std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// In 8 bits or not.
Int8Forward taken(const Int8Forward& asked, const ConvShape& s) {
  return s.groups == 1 && s.taps() * s.c_in <= most_int8_products ? asked : Int8Forward{};
}

}  // namespace

bool winograd_pays(const ConvShape& s, std::int64_t products) {
  if (s.kernel_h != 3 || s.kernel_w != 3 || s.stride_h != 1 || s.stride_w != 1 ||
      s.dilation_h != 1 || s.dilation_w != 1 || s.padding_h > 2 || s.padding_w > 2) {
    return false;
  }
  // In multiplications; moving and adding an element of a transform costs about as much as 12.
  constexpr double transform = 12.0;
  const double tiles = static_cast<double>(s.tiles_h() * s.tiles_w());
  const double pairs = static_cast<double>(products);
  const double direct = 9.0 * pairs * static_cast<double>(s.out_h * s.out_w);
  return 36.0 * tiles * (pairs + transform * static_cast<double>(s.c_in + s.c_out)) < direct;
}

ConvForward::ConvForward(const ConvShape& shape, const KernelTable& table, int workers,
                         const HalfKernels* half, const Int8Forward& int8)
    : s_(shape),
      table_(&table),
      half_(shape.groups == 1 ? half : nullptr),
      int8_(taken(int8, shape)),
      workers_(workers),
      panels_(shape, table, half_, int8_.kernels),
      pixel_((shape.in_stride + panels_.in_one() - 1) / panels_.in_one()) {
  winograd_ = winograd_pays(s_, panels_.products()) &&
              s_.in_stride % std::max<std::int64_t>(table.lanes, panels_.in_one()) == 0;
  if (winograd_) {
    tiles_ = WinogradForward(s_, panels_, table, workers, half_, int8_.kernels);
    return;
  }
  if (s_.covers_image()) {
    matrix_ = {true, 1, s_.in_image(), s_.h * s_.w * pixel_};
  } else if (s_.pointwise()) {
    matrix_ = {true, s_.h * s_.w, s_.in_stride, pixel_};
  }
  if (matrix_.on) {
    columns_ = s_.w;
    worker_floats_ = matrix_rows * (matrix_.a_step + s_.out_stride);
  } else {
    columns_ = (s_.out_w - 1) * s_.stride_w + (s_.kernel_w - 1) * s_.dilation_w + 1;
    const std::int64_t line = columns_ * pixel_ * s_.stride_h;
    band_ = std::clamp<std::int64_t>(region_floats / std::max<std::int64_t>(line, 1), 1, s_.out_h);
    region_rows_ = (band_ - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1;
    worker_floats_ = region_rows_ * columns_ * pixel_ + band_ * s_.out_w * s_.out_stride;
  }
  for (std::int64_t y = 0; y < s_.kernel_h; ++y) {
    for (std::int64_t x = 0; x < s_.kernel_w; ++x) {
      tap_offsets_.push_back((y * s_.dilation_h * columns_ + x * s_.dilation_w) * pixel_);
    }
  }
  worker_floats_ = round_up(worker_floats_ + 16, 16);
  scratch_floats_ = worker_floats_ * workers;
}

std::int64_t ConvForward::packed_floats() const {
  return winograd_ ? tiles_.packed_floats() : panels_.packed_floats(s_.taps());
}

void ConvForward::pack(const float* weights, float* packed, float* scratch) const {
  if (winograd_) return tiles_.pack(weights, packed, scratch);
  const std::int64_t tap = s_.in_group() * s_.out_stride;
  for (const ChannelPanel& panel : panels_.all()) {
    if (int8()) {
      packed =
          pack_int8({weights + panel.first, s_.taps(), tap, s_.c_in, s_.out_stride, panel.width},
                    int8_.input, int8_.kernels->less, packed);
      continue;
    }
    for (std::int64_t t = 0; t < s_.taps(); ++t, packed += panel.k * panel.width) {
      panels_.expand(panel, weights + t * tap, packed);
    }
  }
}

void ConvForward::run(const float* input, const Lens& lens, const float* packed,
                      const Finish& finish, float* scratch, const PerImage& per_image) const {
  if (winograd_) return tiles_.run(input, lens, packed, finish, scratch, per_image);
  if (matrix_.on) return run_matrix(input, lens, packed, finish, scratch, per_image);
  per_image.around_bands(s_.n, (s_.out_h + band_ - 1) / band_,
                         [&](std::int64_t image, std::int64_t band, int worker) {
                           run_band(input, lens, packed, finish, image, band * band_,
                                    scratch + worker * worker_floats_);
                         });
}

// Output rows from `first` on; region: scratch memory of one worker's.
void ConvForward::run_band(const float* input, const Lens& lens, const float* packed,
                           const Finish& finish, std::int64_t image, std::int64_t first,
                           float* region) const {
  const std::int64_t rows = std::min(band_, s_.out_h - first);
  float* values = region + region_rows_ * columns_ * pixel_;
  copy({input + image * s_.in_image(), s_.h, s_.w, s_.in_stride, first * s_.stride_h - s_.padding_h,
        -s_.padding_w, (rows - 1) * s_.stride_h + (s_.kernel_h - 1) * s_.dilation_h + 1, columns_,
        lens, region});
  const Finish put = finish.at(image * s_.out_image());
  float* to = put.stores() ? put.out + first * put.row : values;
  PixelGemm g{};
  g.a = region, g.b = packed, g.c = to, g.tap_offsets = tap_offsets_.data();
  g.lines = rows;
  g.a_line = s_.stride_h * columns_ * pixel_, g.c_line = s_.out_w * s_.out_stride;
  g.rows = s_.out_w, g.a_step = s_.stride_w * pixel_, g.c_step = s_.out_stride;
  g.taps = s_.taps();
  panels_.multiply(g);
  if (!put.stores()) table_->finish_region(put, values, rows, s_.out_w, {first, 0, 1, 1});
}

// Rows are pixels, or images: either way they follow each other in memory. Where work is to be done
// with each image, a thread takes whole images, as many as make a matrix: all of a batch's at once
// went through memory, and a MobileNetV2's depthwise convolutions, which ride behind 1x1 ones, read
// them from there.
void ConvForward::run_matrix(const float* input, const Lens& lens, const float* packed,
                             const Finish& finish, float* scratch,
                             const PerImage& per_image) const {
  const std::int64_t rows = matrix_.rows_an_image;
  const auto run = [&](std::int64_t first, std::int64_t end, int worker) {
    run_rows(input, lens, packed, finish, first, end, scratch + worker * worker_floats_);
  };
  if (per_image.empty() || s_.n < workers_) {
    const std::int64_t all = s_.n * rows;
    const std::int64_t items = round_up((all + matrix_rows - 1) / matrix_rows, workers_);
    const std::int64_t each = (all + items - 1) / std::max<std::int64_t>(items, 1);
    return per_image.around(s_.n, [&] {
      parallel_for_workers(items, [&](std::int64_t item, int worker) {
        run(std::min(item * each, all), std::min((item + 1) * each, all), worker);
      });
    });
  }
  const std::int64_t images = std::clamp<std::int64_t>(matrix_rows / rows, 1, s_.n / workers_);
  parallel_for_workers((s_.n + images - 1) / images, [&](std::int64_t item, int worker) {
    const std::int64_t first = item * images, end = std::min(first + images, s_.n);
    for (std::int64_t i = first; i < end; ++i) per_image.begin(i, worker);
    run(first * rows, end * rows, worker);
    for (std::int64_t i = first; i < end; ++i) per_image.end(i, worker);
  });
}

// From row `first` up to `end`; region: scratch memory of one worker's.
void ConvForward::run_rows(const float* input, const Lens& lens, const float* packed,
                           const Finish& finish, std::int64_t first, std::int64_t end,
                           float* region) const {
  float* values = region + matrix_rows * matrix_.a_step;
  for (; first < end; first += matrix_rows) {
    const std::int64_t rows = std::min(matrix_rows, end - first);
    const float* from = input + first * matrix_.step;
    if (!lens.plain() || panels_.in_one() > 1) {
      const std::int64_t pixels = rows * matrix_.step / s_.in_stride;
      copy({from, 1, pixels, s_.in_stride, 0, 0, 1, pixels, lens, region});
      from = region;
    }
    Finish put = finish.at(first * s_.out_stride);
    put.row = rows * s_.out_stride;
    float* to = put.stores() ? put.out : values;
    PixelGemm g{};
    g.a = from, g.b = packed, g.c = to, g.tap_offsets = tap_offsets_.data();
    g.lines = 1, g.rows = rows, g.a_step = matrix_.a_step, g.c_step = s_.out_stride;
    g.taps = s_.taps();
    panels_.multiply(g);
    if (!put.stores()) table_->finish_region(put, values, 1, rows, {0, 0, 1, 1});
  }
}

}  // namespace pyedge
