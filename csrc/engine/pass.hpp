// A batch on its way through a network, one micro-batch after another: forward, and where it learns
// the masked backward pass (paper Sec. 4.1: only what is trainable learns). Everything that lives
// no longer than that is here.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "engine/arena.hpp"
#include "engine/images.hpp"
#include "engine/losses.hpp"
#include "engine/network.hpp"
#include "engine/plan.hpp"
#include "engine/profile.hpp"
#include "kernels/conv/per_image.hpp"

namespace pyedge {

struct StepResult {
  double loss = 0.0, j1 = 0.0, jb = 0.0, j3 = 0.0, gradient_norm = 0.0;
  std::vector<int> pairs;  // the chosen block of each group
};

// What is wanted of steps' inputs: of a linear one all of it, features [batch, feature_count]; by
// step the least and the largest number of each image, 0 among them, ranges [batch, 2] or null.
struct Watched {
  int step = -1;
  float* features = nullptr;
  std::vector<float*> ranges;
};

class Pass {
 public:
  // All of it outlives the pass. knowledge: of a batch that is learned from; null: it is asked.
  Pass(Network& network, float* arena, const Preprocessing& preprocessing, Statistics statistics,
       const ImageBatch& batch, const Knowledge* knowledge, Watched watched, Profile& profile);

  // Of the micro-batch that begins at image `first`.
  void forward(const Plan& plan, std::int64_t first);
  void backward(const Plan& plan, std::int64_t first);
  // Between the two, for the whole batch.
  StepResult losses(const Plan& plan);

  // For operators, of the micro-batch that runs.
  Network& network() const { return network_; }
  const KernelTable& table() const { return network_.table; }
  const Plan& plan() const { return *plan_; }
  std::int64_t images() const { return plan_->n; }
  float* tensor(int index) const;
  float* gradient(int tensor) const;
  Lens lens(const View& view) const;
  ImageView seen(const View& view, std::int64_t image) const;
  float* result(const ImageStep& run) const {
    return tensor(run.of.step.out) + run.image * run.of.out().image();
  }
  float* scratch(const BackwardStep& b) const { return arena_ + b.scratch_at; }
  float* scratch(int step) const { return arena_ + plan_->scratch_at[at(step)]; }  // forward
  std::uint8_t* mask(int tensor, std::int64_t image) const;
  // Of what the step adds to each channel of its result.
  void add_bias_gradient(const BackwardStep& b) const;
  template <typename Body>
  void timed(const std::string& name, const char* phase, const Body& body) const {
    profile_.timed(name, phase, body);
  }

 private:
  // What goes through the images together, and its name in a profile.
  struct Together {
    PerImage work;
    std::string name;
    void add_name(const std::string& another) { name += name.empty() ? another : " + " + another; }
  };

  void begin(const Plan& plan, std::int64_t first);
  void load() const;
  void finish_tensor(int tensor, Together together);
  void add_guests(int host, bool before, Together& together) const;
  void add_readers(int tensor, std::vector<ImageWork>& works, Together& together) const;
  ImageWork step_work(int step) const;
  void gather_statistics(int tensor) const;
  void copy_features() const;
  void note_ranges(int step) const;

  void begin_gradients();
  void backward_together(std::size_t first, std::size_t end);
  void backward_norm(const BackwardStep& b) const;
  ImageWork backward_work(const BackwardStep& b, std::size_t input) const;
  ImageWork residual_work(const BackwardStep& b) const;
  ImageWork restore_work(const BackwardStep& b);
  bool finish_for(const Target& target, const View& view, Finish& finish) const;
  CompactMap compact(int tensor, std::int64_t image) const;

  // J_b: what a tap and the teacher's maps have in common, and its share of the gradient.
  ImageWork match_work(int group) const;
  void match(int group, std::int64_t image) const;
  ImageWork match_gradient(const BackwardStep& b) const;

  Network& network_;
  float* arena_;
  const Preprocessing& preprocessing_;
  Statistics statistics_;
  const ImageBatch& batch_;
  const Knowledge* knowledge_;
  Watched watched_;
  Profile& profile_;

  const Plan* plan_ = nullptr;
  std::int64_t first_ = 0;  // image of the micro-batch that runs
  std::vector<bool> back_;  // tensors that have been brought back for its backward pass
  mutable std::vector<MatchSums> sums_;         // by group
  std::vector<GroupMatch> matches_;             // by group
  std::vector<std::vector<float>> by_student_;  // by tap and image, of J_b's gradient
};

}  // namespace pyedge
