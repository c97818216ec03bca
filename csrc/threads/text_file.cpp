#include "threads/text_file.hpp"

#include <cstdio>
#include <memory>

namespace pyedge {
namespace {

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

std::vector<std::string> read_lines(const std::string& path) {
  const std::unique_ptr<std::FILE, Close> file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) return {};
  std::vector<std::string> lines;
  bool begun = false;
  for (int c = std::fgetc(file.get()); c != EOF; c = std::fgetc(file.get())) {
    if (!begun) lines.emplace_back();
    begun = c != '\n';
    if (begun) lines.back().push_back(static_cast<char>(c));
  }
  return lines;
}

}  // namespace pyedge
