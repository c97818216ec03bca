// With more threads than the quota pays for, the whole process stands still for the rest of every
// period (100 ms as a rule) as soon as they have used it up.
#include "threads/cpu_quota.hpp"

#include <cmath>
#include <fstream>

namespace pyedge {
namespace {

// The path of this process's group, "" for the topmost one. In a container that is what it sees.
std::string own_group(const std::string& root) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("0::/", 0) == 0) return line.size() > 4 ? line.substr(3) : "";
  }
  return "";
}

// "200000 100000" is two CPUs, "max 100000" no limit.
double quota_of_group(const std::string& folder) {
  std::ifstream file(folder + "/cpu.max");
  double quota = 0.0, period = 0.0;
  if (!(file >> quota >> period) || !(quota > 0.0) || !(period > 0.0)) return 0.0;
  return quota / period;
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
