// The pool: workers sleep until a job is posted, then take its items one by one. So a core that is
// slow, throttled or taken by another program does fewer items, and whatever it has taken is waited
// for, however long that is: speed alone depends on it.
#include "threads/thread_pool.hpp"

#include <atomic>
#include <cfenv>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <pthread.h>

#include "threads/cpu_clusters.hpp"
#include "threads/cpu_quota.hpp"

namespace pyedge {
namespace {

// Looks for the next job, each some half a microsecond, before a helper goes to sleep.
constexpr int looks_ahead = 100;

// Kernels run in the default floating-point environment, whatever the caller has set (torch can
// flush denormals to zero, and threads inherit that): the same bits from every thread.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() {
    std::fegetenv(&saved_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&saved_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::fenv_t saved_;
};

// True on a thread while it runs bodies: a parallel_for inside one stays on its thread.
thread_local bool inside_a_body = false;

// What ThreadsOfCall says here; 0: nothing.
thread_local int threads_of_call = 0;

struct Job {
  std::int64_t items;
  detail::Task task;
  const void* context;
  const std::vector<int>* home;  // CPUs that the helpers stay on, or nullptr
  std::atomic<std::int64_t> next{0};
  std::atomic<int> next_worker{0};
  std::exception_ptr error;  // guarded by mutex
  std::mutex mutex;

  void work() {
    const DefaultFloatEnvironment environment;
    const bool nested = inside_a_body;
    inside_a_body = true;
    const int worker = next_worker.fetch_add(1, std::memory_order_relaxed);
    for (std::int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;) {
      try {
        task(context, item, worker);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!error) error = std::current_exception();
        next = items;
      }
    }
    inside_a_body = nested;
  }
};

class Pool {
 public:
  // One job at a time. False if another thread is using the pool.
  bool try_run(Job& job, int threads) {
    const std::unique_lock<std::mutex> use(in_use_, std::try_to_lock);
    if (!use) return false;
    grow(threads - 1);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      helpers_wanted_ = threads - 1;
    }
    wake(threads - 1);
    job.work();
    // Helpers that have not woken by now are not needed; those at work hold a reference to job.
    std::unique_lock<std::mutex> lock(mutex_);
    helpers_wanted_ = 0;
    lock.unlock();
    // They are in their last item, some 10 us from done: looking beats a sleep and a wake-up of
    // 50 us. Yielding lets them finish where there are more threads than CPUs.
    for (int look = 0; look < 1000 && helpers_working_ != 0; ++look) std::this_thread::yield();
    lock.lock();
    finished_.wait(lock, [this] { return helpers_working_ == 0; });
    job_ = nullptr;
    return true;
  }

 private:
  // No more than are wanted: a pool that somebody has grown costs others nothing.
  void wake(int helpers) {
    if (helpers >= static_cast<int>(threads_.size())) return posted_.notify_all();
    for (int i = 0; i < helpers; ++i) posted_.notify_one();
  }

  // Never joined: the pool lives as long as the process. A system that refuses more threads
  // leaves us with those we have.
  void grow(int helpers) {
    while (static_cast<int>(threads_.size()) < helpers) {
      try {
        threads_.emplace_back([this] { serve(); });
      } catch (const std::system_error&) {
        return;
      }
    }
  }

  void serve() {
    CpuHome home;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      // A step posts some hundred jobs, one right after the other: to look out for the next one for
      // a while beats being woken, which takes longer than many jobs do.
      lock.unlock();
      for (int look = 0; look < looks_ahead && helpers_wanted_ == 0; ++look) {
        std::this_thread::yield();
      }
      lock.lock();
      posted_.wait(lock, [this] { return helpers_wanted_ > 0; });
      --helpers_wanted_;
      ++helpers_working_;
      Job* job = job_;
      lock.unlock();
      home.keep(job->home);
      job->work();
      lock.lock();
      if (--helpers_working_ == 0) finished_.notify_one();
    }
  }

  std::mutex in_use_;
  std::mutex mutex_;
  std::condition_variable posted_, finished_;
  Job* job_ = nullptr;
  std::atomic<int> helpers_wanted_{0};  // both changed under mutex_
  std::atomic<int> helpers_working_{0};
  std::vector<std::thread> threads_;
};

// Replaced, not repaired, in the child of a fork: the parent's threads do not exist there, and
// its mutexes may be held for ever. The old pool is left alone, since a std::thread that was not
// joined cannot be destroyed.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr, std::memory_order_relaxed); });
  (void)registered;
  Pool* current = pool.load(std::memory_order_acquire);
  if (current != nullptr) return *current;
  Pool* fresh = new Pool;
  if (pool.compare_exchange_strong(current, fresh)) return *fresh;
  delete fresh;
  return *current;
}

int default_threads() {
  const auto big = static_cast<int>(cpu_clusters().big.size());
  const int quota = read_cpu_quota("");
  int cpus = big > 0 ? big : static_cast<int>(std::thread::hardware_concurrency());
  if (quota > 0 && quota < cpus) cpus = quota;
  return cpus < 1 ? 1 : cpus > max_threads ? max_threads : cpus;
}

int initial_threads() {
  const char* asked = std::getenv("PYEDGE_NUM_THREADS");
  if (asked == nullptr || *asked == '\0') return default_threads();
  char* end;
  const long count = std::strtol(asked, &end, 10);
  if (*end != '\0' || count < 1 || count > max_threads) {
    throw std::invalid_argument("PYEDGE_NUM_THREADS: wanted a number from 1 to " +
                                std::to_string(max_threads) + ", got '" + asked + "'");
  }
  return static_cast<int>(count);
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

// As long as no more threads are asked for than there are big CPUs, the helpers stay on these: a
// thread that the scheduler has left on a little one would hold the others up at the end of every
// job. They stay on the set and not on a CPU each, which other programs may be using; and the
// calling thread, which is not ours, is left as it is.
const std::vector<int>* helpers_home(int wanted) {
  const CpuClusters& clusters = cpu_clusters();
  const bool clustered = clusters.big.size() < clusters.cpus.size();
  const bool enough = static_cast<std::size_t>(wanted) <= clusters.big.size();
  return clustered && enough ? &clusters.big : nullptr;
}

}  // namespace

int num_threads() {
  return threads_of_call > 0 ? threads_of_call : thread_count().load();
}

ThreadsOfCall::ThreadsOfCall(int count) : before_(threads_of_call) {
  threads_of_call = count > 0 ? count : num_threads();
}

ThreadsOfCall::~ThreadsOfCall() {
  threads_of_call = before_;
}

void set_num_threads(int count) {
  if (count < 1 || count > max_threads) {
    throw std::invalid_argument("set_num_threads: count: wanted a number from 1 to " +
                                std::to_string(max_threads) + ", got " + std::to_string(count));
  }
  thread_count() = count;
}

namespace detail {

void run(std::int64_t items, Task task, const void* context) {
  if (items <= 0) return;
  Job job;
  job.items = items;
  job.task = task;
  job.context = context;
  const int wanted = num_threads();  // once: another thread may change the process's number
  job.home = helpers_home(wanted);
  const int threads = static_cast<int>(items < wanted ? items : wanted);
  if (threads == 1 || inside_a_body || !the_pool().try_run(job, threads)) job.work();
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace detail
}  // namespace pyedge
