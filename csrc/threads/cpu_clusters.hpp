// Big and little CPUs: which of them the threads should work on, and keeping them there.
#pragma once

#include <string>
#include <vector>

namespace pyedge {

struct Cpu {
  int number;
  double capacity;  // 1024 is the machine's fastest, as in the kernel's own figures
};

struct CpuClusters {
  std::vector<Cpu> cpus;  // those that the process may use; empty where the system does not tell
  std::vector<int> big;   // numbers of those that should work: all of them where all are alike
  const char* source;     // what told the capacities: "cpu_capacity", "clock and core", "nothing"
};

// Reads the capacities of the CPUs `allowed` under `root` ("" is this machine; tests pass a folder
// with the same files) and finds the big ones. Never fails: what cannot be read is not used, and
// where nothing tells the CPUs apart all are big.
CpuClusters read_cpu_clusters(const std::vector<int>& allowed, const std::string& root);

// The CPUs that the calling thread may use; empty where the system does not tell.
std::vector<int> allowed_cpus();

// This process's, read at the first call and kept: a mask that is changed later does not count.
const CpuClusters& cpu_clusters();

// Takes other clusters from here on, or with nullptr the machine's own again (tests). They are not
// copied, and must live as long as the pool does.
void set_cpu_clusters(const CpuClusters* clusters);

// Keeps the thread that owns it on some CPUs, and gives it back those it had before.
class CpuHome {
 public:
  // Takes those of `cpus` that the thread may use, or with nullptr gives back. A system call only
  // where the pointer changes. Does nothing where no CPU is left, and a system that refuses is no
  // error: speed alone depends on it.
  void keep(const std::vector<int>* cpus);

 private:
  const std::vector<int>* kept_ = nullptr;
  std::vector<int> before_;  // empty: nothing to give back
};

}  // namespace pyedge
