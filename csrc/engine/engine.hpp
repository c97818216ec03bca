// A student that runs and learns: forward, masked backward (paper Sec. 4.1: only what is trainable
// learns), losses, optimizer. No Python, no torch. Not safe for several threads at once, which
// engine/guarded_engine.hpp refuses; it uses the thread pool itself, and no result depends on the
// number of threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine/images.hpp"
#include "engine/losses.hpp"
#include "engine/parameters.hpp"
#include "engine/plan.hpp"

namespace pyedge {

struct StepResult {
  double loss = 0.0, j1 = 0.0, jb = 0.0, j3 = 0.0, gradient_norm = 0.0;
  std::vector<int> pairs;  // the chosen block of each group
};

// A step whose loss or whose gradients are not finite; nothing has changed by it.
class NotFinite : public std::invalid_argument {
 public:
  explicit NotFinite(const char* quantity)
      : std::invalid_argument("step: " + std::string(quantity) +
                              " is not finite; nothing was changed"),
        quantity(quantity) {}
  const char* quantity;  // "the loss" or "a gradient"
};

struct OperationTime {
  std::string name, phase;
  double ms;
};

class Engine {
 public:
  explicit Engine(Graph graph);

  // By the names of conv2d, linear, batch_norm and affine nodes. Throws std::invalid_argument.
  void set_trainable(const std::vector<std::string>& nodes);
  void set_batch_statistics(bool on);
  // Images that a batch is run by at a time; 0: what the caches hold. Changes results by rounding.
  void set_micro_batch(std::int64_t images);
  void set_optimizer(const OptimizerSettings& settings);
  void set_preprocessing(const Preprocessing& preprocessing);

  std::int64_t classes() const;
  const Graph& graph() const { return graph_; }
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
  std::int64_t optimizer_steps() const { return parameters_.steps; }

  void set_profiling(bool on) { profiling_ = on; }
  std::vector<OperationTime> take_profile();

 private:
  // A batch norm or affine in numbers: what readers of its tensor apply.
  struct NormState {
    int weight, bias;                               // parameters
    std::vector<float> mean, variance;              // running, [c]
    Buffer scale, shift;                            // of the running statistics, [stride]
    Buffer batch_scale, batch_shift;                // of the last batch
    std::vector<double> batch_mean, batch_inverse;  // inverse deviation
    std::vector<float> next_mean, next_variance;    // running ones after this batch
  };
  struct ConvWeights {
    int weight = -1, bias = -1;
    Buffer forward, backward;
    std::uint64_t forward_version = 0, backward_version = 0;
  };

  // What goes through the images together, and its name in a profile.
  struct Together {
    PerImage work;
    std::string name;
    void add_name(const std::string& another) { name += name.empty() ? another : " + " + another; }
  };

  const KernelTable& table() const { return *table_; }
  Wishes wishes(bool training) const;
  BatchPlan new_plan(std::int64_t n, bool training, int workers) const;
  const BatchPlan& plan(std::int64_t n, bool training);
  void forget_plans();
  void fold_norms();

  ChannelPlaces places(int step) const;
  // Of the micro-batch that begins at image first_.
  float* tensor(const Plan& plan, int index);
  float* gradient(const Plan& plan, int tensor_index);
  Lens lens(const View& view, bool batch) const;
  CompactMap compact(const Plan& plan, int tensor_index, std::int64_t image);
  ImageView image_view(const Plan& plan, const View& view, std::int64_t image, bool batch);
  // A linear step whose input is wanted too.
  struct Watched {
    int step = -1;
    float* features = nullptr;  // of the batch
  };

  void answer(const ImageBatch& images, const Watched& watched, float* logits);
  void load(const Plan& plan, const ImageBatch& images);
  void run_forward(const Plan& plan, const ImageBatch& images, bool batch,
                   const Knowledge* knowledge, const Watched& watched);
  void copy_features(const Plan& plan, const Watched& watched);
  std::string step_name(const Step& step) const;
  void finish_tensor(const Plan& plan, int tensor_index, bool batch, const Knowledge* knowledge,
                     Together together);
  void add_guests(const Plan& plan, int host, bool before, bool batch, const Knowledge* knowledge,
                  Together& together);
  void add_readers(const Plan& plan, int tensor_index, bool batch, const Knowledge* knowledge,
                   std::vector<ImageWork>& works, Together& together);
  void convolve(const Plan& plan, int step, bool batch, float* scratch, const PerImage& per_image);
  ImageWork step_work(const Plan& plan, int step, bool batch);
  void gather_statistics(const Plan& plan, int tensor_index);
  void pack_forward(const Plan& plan, int index);
  void pack_backward(const Plan& plan, int index, float* scratch);

  void begin_backward(const Knowledge& knowledge, const std::vector<GroupMatch>& matches);
  void run_backward(const Plan& plan, const ImageBatch& images, const Knowledge& knowledge,
                    const std::vector<GroupMatch>& matches);
  void backward_together(const Plan& plan, std::size_t first, std::size_t end,
                         const Knowledge& knowledge, const std::vector<GroupMatch>& matches);
  void backward_weights(const Plan& plan, const BackwardStep& b);
  void backward_norm(const Plan& plan, const BackwardStep& b);
  void bias_gradient(const Plan& plan, int step, float* scratch);
  ImageWork restore_work(const Plan& plan, const BackwardStep& b);
  ImageWork match_work(const Plan& plan, const BackwardStep& b, const Knowledge& knowledge,
                       const std::vector<GroupMatch>& matches);
  ImageWork deliver_work(const Plan& plan, const Target& target, const View& view,
                         const float* gradient);
  ImageWork pool_work(const Plan& plan, const BackwardStep& b);
  bool finish_for(const Plan& plan, const Target& target, const View& view, Finish& finish);
  void match(const Plan& plan, int group, std::int64_t image, const Knowledge& knowledge);

  template <typename Body>
  void timed(const std::string& name, const char* phase, const Body& body);

  Graph graph_;
  const KernelTable* table_;
  Program program_;
  Parameters parameters_;
  std::vector<NormState> norms_;                   // by norm
  std::vector<ConvWeights> convs_;                 // by step
  std::vector<std::vector<LaneStep>> lane_steps_;  // by step, of channel pads
  std::vector<bool> trainable_;                    // by node
  bool batch_statistics_ = false;
  OptimizerSettings optimizer_;
  Preprocessing preprocessing_;
  std::int64_t micro_batch_ = 0;
  std::int64_t first_ = 0;       // image of the micro-batch that runs
  std::vector<bool> back_;       // tensors that have been brought back for its backward pass
  std::vector<MatchSums> sums_;  // by tap
  std::vector<std::vector<float>> by_student_;  // by tap and image, of J_b's gradient
  std::unique_ptr<BatchPlan> plans_[2];         // inference, training: of the last batch size
  Buffer arena_;
  int workers_ = 0;
  bool gradients_ready_ = false;
  double gradient_norm_ = 0.0;
  bool profiling_ = false;
  std::vector<OperationTime> profile_;
};

template <typename Body>
void Engine::timed(const std::string& name, const char* phase, const Body& body) {
  if (!profiling_) return body();
  const auto start = std::chrono::steady_clock::now();
  body();
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  profile_.push_back({name, phase, spent.count()});
}

}  // namespace pyedge
