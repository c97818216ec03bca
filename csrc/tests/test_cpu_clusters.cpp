// Big and little CPUs and quotas, from folders that look like the sysfs and procfs of several
// machines; and the pool's threads on them.
#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "check.hpp"
#include "threads/cpu_clusters.hpp"
#include "threads/cpu_quota.hpp"
#include "threads/thread_pool.hpp"

namespace {

namespace fs = std::filesystem;
using Numbers = std::vector<int>;
using Lines = std::vector<std::string>;

// A machine's files, in a folder that goes with it.
class Machine {
 public:
  Machine() {
    std::string name = (fs::temp_directory_path() / "pyedge_cpus_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary folder");
    root_ = name;
  }
  ~Machine() { fs::remove_all(root_); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // `contents` of this file of each CPU from 0 on; an empty one makes no file.
  Machine& with(const std::string& file, const Lines& contents) {
    for (std::size_t cpu = 0; cpu < contents.size(); ++cpu) {
      if (contents[cpu].empty()) continue;
      write("sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/" + file, contents[cpu]);
    }
    return *this;
  }

  Machine& with_cores(const Lines& parts, const std::string& implementer = "0x41") {
    std::string text = "Processor\t: AArch64 Processor rev 14 (aarch64)\n";
    for (std::size_t cpu = 0; cpu < parts.size(); ++cpu) {
      text += "processor\t: " + std::to_string(cpu) +
              "\nBogoMIPS\t: 38.40\nCPU implementer\t: " + implementer +
              "\nCPU part\t: " + parts[cpu] + "\nCPU revision\t: 1\n\n";
    }
    write("proc/cpuinfo", text + "Hardware\t: made up\n");
    return *this;
  }

  pyedge::CpuClusters read(const Numbers& allowed) const {
    return pyedge::read_cpu_clusters(allowed, root_.string());
  }
  Numbers big(const Numbers& allowed = {0, 1, 2, 3, 4, 5, 6, 7}) const { return read(allowed).big; }

  int quota() const { return pyedge::read_cpu_quota(root_.string()); }

  Machine& write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text << '\n';
    return *this;
  }

 private:
  fs::path root_;
};

Lines repeated(std::initializer_list<std::pair<int, const char*>> runs) {
  Lines lines;
  for (const auto& [count, text] : runs) lines.insert(lines.end(), count, text);
  return lines;
}

const Numbers all{0, 1, 2, 3, 4, 5, 6, 7}, upper{4, 5, 6, 7};

// The masks with which the pool's helpers ran one job, in which each of `threads` takes part.
std::vector<Numbers> masks_of_helpers(int threads) {
  pyedge::set_num_threads(threads);
  const std::thread::id caller = std::this_thread::get_id();
  std::atomic<int> here{0};
  std::vector<Numbers> masks(static_cast<std::size_t>(threads));
  pyedge::parallel_for_workers(threads, [&](std::int64_t, int worker) {
    for (++here; here < threads;) std::this_thread::yield();
    if (std::this_thread::get_id() != caller) {
      masks[static_cast<std::size_t>(worker)] = pyedge::allowed_cpus();
    }
  });
  std::vector<Numbers> helpers;
  for (const Numbers& mask : masks) {
    if (!mask.empty()) helpers.push_back(mask);
  }
  return helpers;
}

}  // namespace

TEST(big_cpus_follow_the_kernels_capacities) {
  const auto big = [](const Lines& capacities) {
    return Machine().with("cpu_capacity", capacities).big();
  };
  CHECK(big(repeated({{4, "381"}, {4, "1024"}})) == upper);
  CHECK(big(repeated({{4, "508"}, {4, "1024"}})) == upper);
  CHECK(big(repeated({{4, "1024"}, {4, "381"}})) == (Numbers{0, 1, 2, 3}));
  CHECK(big(repeated({{6, "290"}, {2, "1024"}})) == (Numbers{6, 7}));
  // middle cores work with the fastest one, even where they are closer to the little ones in steps
  CHECK(big(repeated({{4, "290"}, {3, "780"}, {1, "1024"}})) == upper);
  CHECK(big(repeated({{4, "124"}, {2, "427"}, {2, "1024"}})) == upper);
  CHECK(big(repeated({{4, "256"}, {2, "512"}, {2, "1024"}})) == upper);
  CHECK(big(repeated({{2, "200"}, {5, "800"}, {1, "1024"}})) == (Numbers{2, 3, 4, 5, 6, 7}));
}

TEST(all_cpus_are_big_where_they_are_alike) {
  CHECK(Machine().big() == all);
  CHECK(Machine().read(all).source == std::string("nothing"));
  CHECK(Machine().with("cpu_capacity", repeated({{8, "1024"}})).big() == all);
  // the same cores at two clocks, and chips that have no little ones
  CHECK(Machine().with("cpu_capacity", repeated({{4, "800"}, {4, "1024"}})).big() == all);
  CHECK(Machine().with("cpu_capacity", repeated({{6, "764"}, {2, "1024"}})).big() == all);
  const Lines turbo = repeated({{6, "5000000"}, {2, "5200000"}});
  CHECK(Machine().with("cpufreq/cpuinfo_max_freq", turbo).big() == all);
  CHECK(Machine().with_cores(repeated({{8, "0xd03"}})).big() == all);
  CHECK(Machine().with_cores(repeated({{4, "0xd4d"}, {4, "0xd4c"}})).big() == all);
}

TEST(big_cpus_are_guessed_from_clock_and_core) {
  const char* clock = "cpufreq/cpuinfo_max_freq";
  const Lines close = repeated({{4, "1844000"}, {4, "2362000"}});
  CHECK(Machine().with(clock, close).big() == all);
  Machine both;
  both.with(clock, close).with_cores(repeated({{4, "0xd03"}, {4, "0xd09"}}));
  CHECK(both.big() == upper);
  CHECK(both.read(all).source == std::string("clock and core"));
  CHECK(Machine().with(clock, repeated({{4, "1766400"}, {4, "2803200"}})).big() == upper);
  CHECK(Machine().with_cores(repeated({{4, "0xd05"}, {4, "0xd0b"}})).big() == upper);
  CHECK(Machine().with_cores(repeated({{4, "0x805"}, {4, "0x804"}}), "0x51").big() == upper);
  // a kernel that was told nothing says 1024 for all
  CHECK(Machine()
            .with("cpu_capacity", repeated({{8, "1024"}}))
            .with_cores(repeated({{4, "0xd03"}, {4, "0xd09"}}))
            .big() == upper);
}

TEST(big_cpus_are_among_the_allowed_ones) {
  Machine phone;
  phone.with("cpu_capacity", repeated({{4, "290"}, {3, "780"}, {1, "1024"}}));
  CHECK(phone.big({0, 1, 2, 3}) == (Numbers{0, 1, 2, 3}));
  CHECK(phone.big({2, 3, 5}) == Numbers{5});
  CHECK(phone.big({4, 5, 6}) == (Numbers{4, 5, 6}));
  CHECK(phone.big({7}) == Numbers{7});
  CHECK(phone.big({}).empty());
  // the numbers of CPUs that are switched off are missing; those left are found by name
  CHECK(phone.big({0, 2, 3, 6, 7}) == (Numbers{6, 7}));
}

TEST(figures_that_cannot_be_read_are_left_out) {
  for (const char* garbage : {"", "none", "-1", "0", "nan", "inf", "1024 7", "12x"}) {
    Lines capacities = repeated({{4, "290"}, {4, "1024"}});
    capacities[6] = garbage;
    Machine broken;
    broken.with("cpu_capacity", capacities);
    CHECK_AT(broken.big() == all, garbage);
    CHECK_AT(broken.read(all).source == std::string("nothing"), garbage);
  }
  // one CPU without a core's number, and lines that are none
  CHECK(Machine().with_cores(repeated({{4, "0xd05"}, {3, "0xd0b"}})).big() == all);
  CHECK(Machine().with_cores(repeated({{8, "\x01 :: :"}})).big() == all);
}

TEST(quota_of_the_own_group_and_those_above_counts) {
  CHECK(Machine().quota() == 0);
  const std::string own = "proc/self/cgroup", folder = "sys/fs/cgroup/";
  // what a container sees of itself
  CHECK(Machine().write(own, "0::/").write(folder + "cpu.max", "200000 100000").quota() == 2);
  CHECK(Machine().write(own, "0::/").write(folder + "cpu.max", "max 100000").quota() == 0);
  CHECK(Machine().write(folder + "cpu.max", "150000 100000").quota() == 2);
  CHECK(Machine().write(folder + "cpu.max", "5000 100000").quota() == 1);
  Machine nested;
  nested.write(own, "1:cpu:/old\n0::/user.slice/app.scope");
  nested.write(folder + "user.slice/app.scope/cpu.max", "max 100000");
  CHECK(nested.quota() == 0);
  nested.write(folder + "user.slice/cpu.max", "300000 100000");
  CHECK(nested.quota() == 3);
  nested.write(folder + "user.slice/app.scope/cpu.max", "100000 100000");
  CHECK(nested.quota() == 1);
  for (const char* garbage : {"", "0 0", "-1 100000", "100000", "100000 0", "max", "nan nan"}) {
    CHECK_AT(Machine().write(folder + "cpu.max", garbage).quota() == 0, garbage);
  }
}

TEST(this_machine_has_big_cpus) {
  const pyedge::CpuClusters clusters =
      pyedge::read_cpu_clusters(pyedge::allowed_cpus(), std::string());
#if defined(__linux__)
  CHECK(clusters.cpus.size() == pyedge::allowed_cpus().size());
  CHECK(!clusters.big.empty());
#endif
  CHECK(clusters.big.size() <= clusters.cpus.size());
}

TEST(helpers_stay_on_the_big_cpus_and_the_caller_is_left_alone) {
  const Numbers before = pyedge::allowed_cpus();
  if (before.size() < 2) return;
  const int home = before.back(), elsewhere = 1000;
  // of two big CPUs one is not ours: its place is there for a second thread
  static const pyedge::CpuClusters clusters{
      {{home, 1024.0}, {elsewhere, 1024.0}, {before.front(), 300.0}},
      {home, elsewhere},
      "cpu_capacity"};
  pyedge::set_cpu_clusters(&clusters);
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::vector<Numbers> two = masks_of_helpers(2);
    CHECK(two == std::vector<Numbers>{Numbers{home}});
    // more threads than big CPUs: everywhere again
    const std::vector<Numbers> three = masks_of_helpers(3);
    CHECK(three == (std::vector<Numbers>{before, before}));
    CHECK(pyedge::allowed_cpus() == before);
  }
  pyedge::set_cpu_clusters(nullptr);
  pyedge::set_num_threads(2);
}

TEST(a_home_that_cannot_be_had_is_no_error) {
  const Numbers before = pyedge::allowed_cpus(), nowhere{1000, 1001}, beyond{5000};
  pyedge::CpuHome home;
  for (const Numbers* cpus : {&nowhere, &beyond, &before}) {
    home.keep(cpus);
    CHECK(pyedge::allowed_cpus() == before);
  }
  home.keep(nullptr);
  CHECK(pyedge::allowed_cpus() == before);
}
