// The student's network as a list of operators, checked: what a file or the exporter hands over.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace pyedge {

struct Array {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

class Operator;  // engine/steps/operator.hpp

using Pair = std::array<std::int64_t, 2>;

struct Node {
  const Operator* op;
  std::string name;
  std::vector<int> inputs;
  std::string weight, bias, mean, variance;  // names of arrays; bias may be empty
  std::vector<std::int32_t> position;        // channel_pad
  std::int64_t channels = 0;                 // channel_pad
  std::int64_t groups = 1;
  Pair kernel{1, 1}, stride{1, 1}, padding{0, 0}, dilation{1, 1};
  float eps = 1e-5f;
  std::map<std::string, double> numbers;  // fields of no other kind, by name
};

struct Dims {
  std::int64_t c, h, w;
  bool flat = false;  // after flatten: n c, with c the features
};

struct Graph {
  std::vector<Node> nodes;
  std::map<std::string, Array> arrays;
  Dims input;
  int output = 0;
  std::vector<int> taps;

  std::vector<Dims> dims;  // of each node's result, filled in by check()

  // Throws std::invalid_argument that names the node for what does not fit together.
  void check();
  const Array& array(const std::string& name) const { return arrays.at(name); }
};

}  // namespace pyedge
