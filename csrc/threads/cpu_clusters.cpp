// Reading capacities from sysfs and /proc/cpuinfo, and cutting at the widest gap between them.
#include "threads/cpu_clusters.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <map>
#include <utility>

#if defined(__linux__)
#include <sched.h>
#endif

#include "threads/text_file.hpp"

namespace pyedge {
namespace {

using Figures = std::vector<double>;  // one for each allowed CPU, or none at all

// 0 where there is no such file, where reading it is forbidden, and where it holds anything but
// one positive number.
double read_figure(const std::string& path) {
  const std::vector<std::string> lines = read_lines(path);
  if (lines.size() != 1) return 0.0;
  char* rest = nullptr;
  const double value = std::strtod(lines[0].c_str(), &rest);
  return *rest == '\0' && value > 0.0 && value < 1e12 ? value : 0.0;
}

// Each CPU's file is opened by name: Android lets an app read them, but not list their folder.
Figures read_figures(const std::vector<int>& allowed, const std::string& root, const char* file) {
  Figures figures;
  for (const int cpu : allowed) {
    const double figure =
        read_figure(root + "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + file);
    if (figure == 0.0) return {};  // half an answer says nothing about the other half
    figures.push_back(figure);
  }
  return figures;
}

bool is_in_order(long implementer, long part) {
  static const std::map<long, std::vector<long>> cores{
      // Cortex-A32, A34, A53, A35, A55, A510, A520
      {0x41, {0xd01, 0xd02, 0xd03, 0xd04, 0xd05, 0xd46, 0xd80}},
      // the same under Qualcomm's name: Kryo 2xx, 3xx and 4xx Silver
      {0x51, {0x801, 0x803, 0x805}},
  };
  const auto found = cores.find(implementer);
  return found != cores.end() &&
         std::find(found->second.begin(), found->second.end(), part) != found->second.end();
}

// What each CPU does at one clock, as far as its kind tells. At the same clock an in-order core
// does about half the work of the big ones next to it (device trees say 0.40 to 0.58).
Figures read_work_a_clock(const std::vector<int>& allowed, const std::string& root) {
  std::map<long, double> found;
  long cpu = -1, implementer = 0;
  for (const std::string& line : read_lines(root + "/proc/cpuinfo")) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    const long value = std::strtol(line.c_str() + colon + 1, nullptr, 0);
    const auto is = [&](const char* key) { return line.rfind(key, 0) == 0; };
    if (is("processor")) cpu = value;
    if (is("CPU implementer")) implementer = value;
    if (is("CPU part")) found[cpu] = is_in_order(implementer, value) ? 0.5 : 1.0;
  }
  Figures figures;
  for (const int number : allowed) {
    if (found.count(number) == 0) return {};
    figures.push_back(found[number]);
  }
  return figures;
}

bool differ(const Figures& figures) {
  return std::adjacent_find(figures.begin(), figures.end(), std::not_equal_to<double>()) !=
         figures.end();
}

// Clock times work a clock, 1024 for the fastest; of one alone where the other is not known.
Figures estimate(const std::vector<int>& allowed, const std::string& root) {
  Figures figures = read_figures(allowed, root, "cpufreq/cpuinfo_max_freq");
  const Figures work = read_work_a_clock(allowed, root);
  if (figures.empty()) {
    figures = work;
  } else if (!work.empty()) {
    std::transform(figures.begin(), figures.end(), work.begin(), figures.begin(),
                   std::multiplies<double>());
  }
  const auto most = std::max_element(figures.begin(), figures.end());
  const double scale = most == figures.end() ? 1.0 : 1024.0 / *most;
  for (double& figure : figures) figure *= scale;
  return figures;
}

// The capacity from which on a CPU is big: above the widest gap, if that is a factor of 1.5 or
// more. Little and big lie 2 to 3.5 apart; the two kinds of big ones of a chip with three or
// four clusters are closer to each other than either is to the little ones, and belong together.
// Clusters of the same cores at two clocks (1.1 to 1.4) all work.
double big_from(Figures capacities) {
  constexpr double least_gap = 1.5;
  std::sort(capacities.begin(), capacities.end());
  double widest = least_gap, from = 0.0;
  for (std::size_t i = 1; i < capacities.size(); ++i) {
    const double gap = capacities[i] / capacities[i - 1];
    // of two gaps alike the lower one: more CPUs work
    if (gap > widest || (gap == widest && from == 0.0)) {
      widest = gap;
      from = capacities[i];
    }
  }
  return from;
}

#if defined(__linux__)
bool set_allowed(const std::vector<int>& cpus) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(static_cast<unsigned>(cpu), &set);
  return sched_setaffinity(0, sizeof set, &set) == 0;  // 0: this thread, not the process
}
#else
bool set_allowed(const std::vector<int>&) {
  return false;
}
#endif

std::atomic<const CpuClusters*> other{nullptr};

}  // namespace

CpuClusters read_cpu_clusters(const std::vector<int>& allowed, const std::string& root) {
  Figures capacities = read_figures(allowed, root, "cpu_capacity");
  const char* source = "cpu_capacity";
  // A device tree without capacities makes the kernel say 1024 for every CPU.
  if (!differ(capacities)) {
    Figures estimates = estimate(allowed, root);
    if (capacities.empty() || differ(estimates)) {
      capacities = std::move(estimates);
      source = "clock and core";
    }
  }
  if (capacities.empty()) {
    capacities.assign(allowed.size(), 1024.0);
    source = "nothing";
  }
  const double from = big_from(capacities);
  CpuClusters clusters{{}, {}, source};
  for (std::size_t i = 0; i < allowed.size(); ++i) {
    clusters.cpus.push_back({allowed[i], capacities[i]});
    if (capacities[i] >= from) clusters.big.push_back(allowed[i]);
  }
  return clusters;
}

std::vector<int> allowed_cpus() {
  std::vector<int> cpus;
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<unsigned>(cpu), &set)) cpus.push_back(cpu);
  }
#endif
  return cpus;
}

const CpuClusters& cpu_clusters() {
  // never destroyed: a thread may still be at work while the process ends
  static const CpuClusters* own = new CpuClusters(read_cpu_clusters(allowed_cpus(), ""));
  const CpuClusters* set = other.load(std::memory_order_acquire);
  return set != nullptr ? *set : *own;
}

void set_cpu_clusters(const CpuClusters* clusters) {
  other.store(clusters, std::memory_order_release);
}

void CpuHome::keep(const std::vector<int>* cpus) {
  if (cpus == kept_) return;
  kept_ = cpus;
  if (!before_.empty()) set_allowed(before_);
  before_.clear();
  if (cpus == nullptr) return;
  const std::vector<int> before = allowed_cpus();
  std::vector<int> both;
  std::copy_if(before.begin(), before.end(), std::back_inserter(both),
               [&](int cpu) { return std::find(cpus->begin(), cpus->end(), cpu) != cpus->end(); });
  if (!both.empty() && both != before && set_allowed(both)) before_ = before;
}

}  // namespace pyedge
