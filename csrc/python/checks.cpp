// Refusing arguments with ValueError.
#include "python/checks.hpp"

#include <algorithm>
#include <cmath>

namespace py = pybind11;

namespace {

std::string listed(const std::vector<py::ssize_t>& shape) {
  std::string text;
  for (const py::ssize_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

}  // namespace

void require(bool holds, const char* message) {
  if (!holds) throw py::value_error(message);
}

void refuse(const std::string& where, const std::string& wanted, const std::string& got) {
  throw py::value_error(where + ": wanted " + wanted + ", got " + got);
}

void require_shape(const py::array& array, const char* where,
                   const std::vector<py::ssize_t>& shape) {
  if (std::equal(shape.begin(), shape.end(), array.shape(), array.shape() + array.ndim())) return;
  refuse(where, listed(shape), described(array));
}

std::string described(const py::array& array) {
  return std::string(py::str(array.dtype())) + " " +
         listed({array.shape(), array.shape() + array.ndim()});
}

void require_from_0(double value, const char* where) {
  if (std::isfinite(value) && value >= 0.0) return;
  refuse(where, "a finite number from 0", std::to_string(value));
}

void require_share(double value, const char* where) {
  if (!(value >= 0.0 && value < 1.0)) refuse(where, "a number in [0, 1)", std::to_string(value));
}

void require_below(const std::int64_t* values, std::int64_t n, std::int64_t end, const char* where,
                   const char* what) {
  const auto* const wrong =
      std::find_if(values, values + n, [end](std::int64_t v) { return v < 0 || v >= end; });
  if (wrong == values + n) return;
  refuse(where, std::string(what) + " in [0, " + std::to_string(end) + ")", std::to_string(*wrong));
}

void require_choice(const std::string& value, const char* where,
                    const std::vector<std::string>& words) {
  if (std::find(words.begin(), words.end(), value) != words.end()) return;
  std::string wanted;
  for (const std::string& word : words) wanted += (wanted.empty() ? "\"" : " or \"") + word + "\"";
  refuse(where, wanted, "\"" + value + "\"");
}
