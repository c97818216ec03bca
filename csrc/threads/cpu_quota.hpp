// How much of the CPUs a container may use: a limit of time, which no mask of CPUs shows.
#pragma once

#include <string>

namespace pyedge {

// CPUs that the quota of this process's control group (version 2) and of those above it amounts
// to, rounded up; 0 where there is no quota or none can be read. `root` as in cpu_clusters.hpp.
int read_cpu_quota(const std::string& root);

}  // namespace pyedge
