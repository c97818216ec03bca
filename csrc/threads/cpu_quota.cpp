// With more threads than the quota pays for, the whole process stands still for the rest of every
// period (100 ms as a rule) as soon as they have used it up.
#include "threads/cpu_quota.hpp"

#include <cmath>
#include <cstdlib>

#include "threads/text_file.hpp"

namespace pyedge {
namespace {

// The path of this process's group, "" for the topmost one. In a container that is what it sees.
std::string own_group(const std::string& root) {
  for (const std::string& line : read_lines(root + "/proc/self/cgroup")) {
    if (line.rfind("0::/", 0) == 0) return line.size() > 4 ? line.substr(3) : "";
  }
  return "";
}

// "200000 100000" is two CPUs, "max 100000" no limit.
double quota_of_group(const std::string& folder) {
  const std::vector<std::string> lines = read_lines(folder + "/cpu.max");
  if (lines.empty()) return 0.0;
  char* rest = nullptr;
  const double quota = std::strtod(lines[0].c_str(), &rest);
  const double period = std::strtod(rest, nullptr);  // 0 for what is no number
  return quota > 0.0 && period > 0.0 ? quota / period : 0.0;
}

}  // namespace

int read_cpu_quota(const std::string& root) {
  double least = 0.0;
  for (std::string group = own_group(root);; group.resize(group.rfind('/'))) {
    const double quota = quota_of_group(root + "/sys/fs/cgroup" + group);
    if (quota > 0.0 && (least == 0.0 || quota < least)) least = quota;
    if (group.empty()) break;
  }
  return static_cast<int>(std::ceil(std::fmin(least, 1e6)));
}

}  // namespace pyedge
