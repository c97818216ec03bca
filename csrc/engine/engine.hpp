// A student that runs and learns. No Python, no torch. Not safe for several threads at once, which
// engine/guarded_engine.hpp refuses; it uses the thread pool itself, and no result depends on the
// number of threads.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/network.hpp"
#include "engine/pass.hpp"
#include "engine/plan.hpp"
#include "engine/profile.hpp"

namespace pyedge {

// A step whose loss or whose gradients are not finite; nothing has changed by it.
class NotFinite : public std::invalid_argument {
 public:
  explicit NotFinite(const char* what_is)
      : std::invalid_argument("step: " + std::string(what_is) +
                              " is not finite; nothing was changed"),
        quantity(what_is) {}
  const char* quantity;  // "the loss" or "a gradient"
};

enum class Precision { float32, half, int8 };

class Engine {
 public:
  explicit Engine(Graph graph);

  // By the names of conv2d, linear, batch_norm and affine nodes. Throws std::invalid_argument.
  void set_trainable(const std::vector<std::string>& nodes);
  void set_statistics(Statistics statistics);
  // Images that a batch is run by at a time; 0: what the caches hold. Changes results by rounding.
  void set_micro_batch(std::int64_t images);
  // Convolutions in 16 bits, or in float32: of answers all of them, of steps those of gradients. A
  // step's own forward pass stays in float32: its rounding turns ReLUs over, and losses that are
  // differences of nearly equal numbers make much of the rest (docs/half.md). Throws
  // std::invalid_argument where the instruction set that the engine was made with has no half
  // precision. In 8 bits are answers alone, not the features that are watched: what is learned from
  // stays in float32. Throws as well where no input has a scale.
  void set_precision(Precision precision);
  // Of the inputs of convolutions and linear nodes, by name; those without one stay in float32 in 8
  // bits. Throws std::invalid_argument.
  void set_input_scales(const std::map<std::string, InputScale>& scales);
  Precision precision() const { return precision_; }
  void set_optimizer(const OptimizerSettings& settings);
  void set_preprocessing(const Preprocessing& preprocessing);

  std::int64_t classes() const;
  const Graph& graph() const { return network_.graph; }
  // Bytes of the arena for a batch of n; of weights, packed copies, gradients and slots.
  std::int64_t memory(std::int64_t n, bool training) const;
  std::int64_t weight_bytes() const;

  // logits [n, classes]
  void predict(const ImageBatch& images, float* logits);
  // The step of a linear node: of that name, or the one that gives the output, be it through
  // affines and channel pads. Throws std::invalid_argument where there is none.
  int linear_step(const std::optional<std::string>& node) const;
  // The numbers that it reads of an image.
  std::int64_t feature_count(int linear_step) const;
  // predict's logits, and what that step read, in the order of its weight's columns:
  // features [n, feature_count]
  void features(const ImageBatch& images, int linear_step, float* features, float* logits);
  // The least and the largest number, 0 among them, that each layer reads of each image [n, 2], by
  // the names of the convolutions and linear nodes that can run in 8 bits. In float32.
  std::map<std::string, std::vector<float>> input_ranges(const ImageBatch& images);
  // Losses and gradients; changes no weight. Throws std::invalid_argument for what is not finite.
  StepResult step(const ImageBatch& images, const Knowledge& knowledge);
  void update(double lr);  // throws std::logic_error without gradients

  // In torch's layout.
  const std::vector<std::int64_t>& shape(const std::string& name) const;
  std::vector<float> array(const std::string& name) const;
  std::vector<float> gradient(const std::string& name) const;
  void set_array(const std::string& name, const float* values);
  std::vector<std::string> array_names() const;

  // The optimizer's slots and the count of its steps.
  std::map<std::string, std::vector<float>> slots() const;
  void set_slots(const std::map<std::string, std::vector<float>>& slots, std::int64_t steps);
  std::int64_t optimizer_steps() const { return network_.parameters.steps; }

  void set_profiling(bool on) { profile_.set(on); }
  std::vector<OperationTime> take_profile() { return profile_.take(); }

 private:
  // What a pass is for: watched is an answer whose features are wanted, apart one in which no step
  // hides another's result.
  enum class For { answers, learning, watched, apart };
  int weighted_step(const std::string& node) const;
  Wishes wishes(For what) const;
  BatchPlan new_plan(std::int64_t n, For what, int workers) const;
  const BatchPlan& plan(std::int64_t n, For what);
  void forget_plans();
  void answer(const ImageBatch& images, const Watched& watched, For what, float* logits);

  Network network_;
  Statistics statistics_ = Statistics::running;  // of batch norms while it learns
  OptimizerSettings optimizer_;
  Preprocessing preprocessing_;
  std::int64_t micro_batch_ = 0;
  Precision precision_ = Precision::float32;
  std::unique_ptr<BatchPlan> plans_[4];  // by what they are for, of the last batch size
  Buffer arena_;
  int workers_ = 0;
  bool gradients_ready_ = false;
  double gradient_norm_ = 0.0;
  Profile profile_;
};

}  // namespace pyedge
