// Work on each image around a convolution: the image is there when it is read, whole when it is
// looked at afterwards, and both happen once.
#include <algorithm>
#include <atomic>

#include "conv_case.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

using check::ConvCase;
using check::ConvSizes;
using check::into;
using check::Map;
using pyedge::PerImage;

namespace {

// By bands, by matrix product, by Winograd: one image an item, several, bands of one.
const std::vector<ConvSizes>& shapes() {
  static const std::vector<ConvSizes> all{
      {7, 5, 9, 6, 7, 3, 3, 2, 1},         {5, 3, 4, 4, 5, 1, 1},
      {3, 17, 18, 90, 40, 5, 5, 1, 2},     {9, 40, 33, 7, 10, 3, 3, 1, 0},
      {8, 36, 34, 20, 40, 3, 3, 1, 1},     {2, 36, 34, 40, 40, 3, 3, 1, 1},
      {3, 40, 20, 9, 7, 3, 3, 2, 1, 1, 5}, {3, 96, 96, 12, 9, 3, 3, 1, 1, 1, 4},
  };
  return all;
}

// convolve(from, to, per_image) must make the same of an input that comes image by image, and each
// image of its result must be whole when `after` sees it.
template <typename Convolve>
void check_turns(const Map& from, const Map& to, const std::string& where,
                 const Convolve& convolve) {
  Map wanted = to, found = to, source = from;
  Map late = from;
  convolve(from, wanted, PerImage{});
  std::fill(late.values.begin(), late.values.end(), check::canary);
  const auto n = static_cast<std::size_t>(from.n);
  std::vector<std::atomic<int>> begun(n), ended(n);
  std::atomic<int> broken{0};
  const std::int64_t in_image = from.image(), out_image = to.image();
  PerImage per_image;
  per_image.before.push_back([&](std::int64_t i, int) {
    std::copy_n(source.data() + i * in_image, in_image, late.data() + i * in_image);
  });
  per_image.before.push_back([&](std::int64_t i, int) { ++begun[static_cast<std::size_t>(i)]; });
  per_image.after.push_back([&](std::int64_t i, int worker) {
    const float* image = found.data() + i * out_image;
    const bool same = std::equal(image, image + out_image, wanted.data() + i * out_image);
    if (!same || worker < 0 || worker >= pyedge::num_threads()) ++broken;
    ++ended[static_cast<std::size_t>(i)];
  });
  convolve(late, found, per_image);
  CHECK_AT(broken == 0, where);
  const auto once = [](const std::atomic<int>& count) { return count == 1; };
  CHECK_AT(std::all_of(begun.begin(), begun.end(), once), where);
  CHECK_AT(std::all_of(ended.begin(), ended.end(), once), where);
  CHECK_AT(found.values == wanted.values, where);
}

}  // namespace

TEST(conv_forward_takes_work_along_for_each_image) {
  check::on_each_case(shapes(), {1, 2, 3}, [](const ConvCase& c, const std::string& where, auto&) {
    const pyedge::ConvForward conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
    std::vector<float> packed(static_cast<std::size_t>(conv.packed_floats())),
        scratch(static_cast<std::size_t>(conv.scratch_floats())),
        spread(static_cast<std::size_t>(conv.pack_scratch_floats()));
    conv.pack(c.weights.data(), packed.data(), spread.data());
    check_turns(c.input, c.output, where, [&](const Map& from, Map& to, const PerImage& each) {
      conv.run(from.values.data(), {}, packed.data(), into(to), scratch.data(), each);
    });
  });
}

TEST(conv_input_gradient_takes_work_along_for_each_image) {
  check::on_each_case(shapes(), {1, 2, 3}, [](const ConvCase& c, const std::string& where, auto&) {
    const pyedge::ConvInputGradient conv(c.s, pyedge::kernel_table(), pyedge::num_threads());
    std::vector<float> packed(static_cast<std::size_t>(conv.packed_floats())),
        scratch(static_cast<std::size_t>(conv.scratch_floats())),
        turned(static_cast<std::size_t>(conv.pack_scratch_floats()));
    conv.pack(c.weights.data(), packed.data(), turned.data());
    check_turns(c.output, c.input, where, [&](const Map& from, Map& to, const PerImage& each) {
      conv.run(from.values.data(), packed.data(), into(to), scratch.data(), each);
    });
  });
}
