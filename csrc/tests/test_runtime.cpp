// The thread pool and the choice of a path.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <thread>

#include "check.hpp"
#include "kernels/dispatch/dispatch.hpp"
#include "threads/thread_pool.hpp"

namespace {

bool visits_each_item_once(std::int64_t items) {
  std::vector<std::atomic<int>> visits(static_cast<std::size_t>(items));
  pyedge::parallel_for(items, [&](std::int64_t i) { ++visits[static_cast<std::size_t>(i)]; });
  for (const auto& count : visits) {
    if (count != 1) return false;
  }
  return true;
}

}  // namespace

TEST(parallel_for_visits_each_item_once) {
  for (const int threads : {1, 2, 3, 8}) {
    pyedge::set_num_threads(threads);
    for (const std::int64_t items : {0, 1, 2, 3, 1000}) CHECK(visits_each_item_once(items));
  }
  pyedge::set_num_threads(2);
}

TEST(parallel_for_rethrows_and_goes_on_working) {
  pyedge::set_num_threads(3);
  for (int attempt = 0; attempt < 20; ++attempt) {
    bool caught = false;
    try {
      pyedge::parallel_for(100, [](std::int64_t i) {
        if (i == 50) throw std::runtime_error("item 50");
      });
    } catch (const std::runtime_error& error) {
      caught = std::string(error.what()) == "item 50";
    }
    CHECK(caught);
    CHECK(visits_each_item_once(100));
  }
}

TEST(parallel_for_inside_itself) {
  std::atomic<int> visits{0};
  pyedge::parallel_for(
      10, [&](std::int64_t) { pyedge::parallel_for(10, [&](std::int64_t) { ++visits; }); });
  CHECK(visits == 100);
}

TEST(parallel_for_from_several_threads_at_once) {
  std::vector<std::thread> callers;
  std::atomic<int> good{0};
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int repeat = 0; repeat < 50; ++repeat) good += visits_each_item_once(64);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK(good == 200);
}

TEST(parallel_for_in_the_child_of_a_fork) {
  pyedge::set_num_threads(3);
  CHECK(visits_each_item_once(100));
  const pid_t child = fork();
  if (child == 0) _exit(visits_each_item_once(100) ? 0 : 1);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

TEST(set_num_threads_refuses_nonsense) {
  for (const int count : {0, -1, 5000}) {
    bool refused = false;
    try {
      pyedge::set_num_threads(count);
    } catch (const std::invalid_argument&) {
      refused = true;
    }
    CHECK(refused);
  }
}

TEST(tables_have_every_kernel) {
  check::on_each_isa([](const std::string& isa) {
    // a table is a row of pointers and, between them, a few numbers above 0
    const auto& table = pyedge::kernel_table();
    static_assert(sizeof(table) % sizeof(std::uintptr_t) == 0);
    CHECK_AT(table.name != nullptr, isa);
    CHECK_AT(table.wide_lanes > 0 && table.lanes > 0 && table.tile_vectors > 0, isa);
    CHECK_AT(table.moment_columns > 0, isa);
    const auto* words = reinterpret_cast<const std::uintptr_t*>(&table);
    for (std::size_t i = 0; i < sizeof(table) / sizeof(*words); ++i) CHECK_AT(words[i] != 0, isa);
  });
}

TEST(set_isa_names_the_choices) {
  const std::string before = pyedge::kernel_table().name;
  std::string message;
  try {
    pyedge::set_isa("mmx");
  } catch (const std::invalid_argument& error) {
    message = error.what();
  }
  CHECK(message.find("reference") != std::string::npos);
  CHECK(message.find("'mmx'") != std::string::npos);
  CHECK(before == pyedge::kernel_table().name);
}
