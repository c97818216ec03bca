// What arguments of the extension are checked for. Messages have pyedge's one form, "where: wanted
// X, got Y".
#pragma once

#include <pybind11/numpy.h>

#include <cstdint>
#include <string>
#include <vector>

// Throws ValueError with `message` unless `holds`.
void require(bool holds, const char* message);

// Throws ValueError "where: wanted X, got Y".
[[noreturn]] void refuse(const std::string& where, const std::string& wanted,
                         const std::string& got);

// Throws ValueError unless the array has this shape.
void require_shape(const pybind11::array& array, const char* where,
                   const std::vector<pybind11::ssize_t>& shape);

// "float32 [2, 3]"
std::string described(const pybind11::array& array);

// A finite number that is not negative.
void require_from_0(double value, const char* where);

// A number from 0, below 1.
void require_share(double value, const char* where);

// n values, each from 0, below `end`; `what` says what these numbers are.
void require_below(const std::int64_t* values, std::int64_t n, std::int64_t end, const char* where,
                   const char* what);

// One of these words.
void require_choice(const std::string& value, const char* where,
                    const std::vector<std::string>& words);
