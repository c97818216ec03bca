// Batch norm and channel affine: no steps, but a view of their input's tensor (engine/norms.hpp).
#include <cmath>

#include "engine/lowering.hpp"
#include "engine/steps/checks.hpp"
#include "engine/steps/operator.hpp"

namespace pyedge {
namespace {

class Affine : public Operator {
 public:
  explicit Affine(const char* own_name = "affine", bool has_statistics = false)
      : Operator(own_name), has_statistics_(has_statistics) {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& in) const override {
    want_channels(node, in[0]);
    shaped(graph, node, node.weight, {in[0].c});
    shaped(graph, node, node.bias, {in[0].c});
    return in[0];
  }

  View lower(Lowering& lowering, int node) const override {
    return lowering.norm(node, has_statistics_);
  }

  bool learns() const override { return true; }
  bool ends() const override { return !has_statistics_; }

 private:
  bool has_statistics_;
};

class BatchNorm : public Affine {
 public:
  BatchNorm() : Affine("batch_norm", true) {}

  Dims shape(const Graph& graph, const Node& node, const std::vector<Dims>& in) const override {
    shaped(graph, node, node.mean, {in[0].c});
    for (const float v : shaped(graph, node, node.variance, {in[0].c}).values) {
      want(v >= 0.0f, node, "has a negative variance");
    }
    want(std::isfinite(node.eps) && node.eps > 0.0f, node, "has a bad eps");
    return Affine::shape(graph, node, in);
  }
};

}  // namespace

static const Affine affine;
const Operator& affine_operator = affine;
static const BatchNorm batch_norm;
const Operator& batch_norm_operator = batch_norm;

}  // namespace pyedge
