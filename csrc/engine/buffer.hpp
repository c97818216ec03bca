// A block of floats that begins on a cache line; large ones on pages of 2 MB where there are any.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace pyedge {

struct FreeBuffer {
  std::size_t mapped = 0;  // bytes, or from the heap
  void operator()(float* memory) const {
#if defined(__linux__)
    if (mapped > 0) return static_cast<void>(munmap(memory, mapped));
#endif
    std::free(memory);
  }
};

class Buffer {
 public:
  Buffer() = default;
  // Zeros. Throws std::bad_alloc.
  explicit Buffer(std::int64_t floats) : floats_(floats) {
    const std::size_t bytes = (static_cast<std::size_t>(floats) * sizeof(float) + 127) / 64 * 64;
#if defined(__linux__)
    if (bytes >= huge_page) {
      map(bytes);
      return;
    }
#endif
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes) != 0) throw std::bad_alloc();
    memory_.reset(static_cast<float*>(memory));
    std::memset(memory, 0, bytes);
  }
  float* data() { return memory_.get(); }
  const float* data() const { return memory_.get(); }
  std::int64_t floats() const { return floats_; }

 private:
  static constexpr std::size_t huge_page = std::size_t{2} << 20;

#if defined(__linux__)
  // From the system and back to it. The heap keeps what is freed: 30 MB more than was said, for
  // a student of 13 MB.
  void map(std::size_t bytes) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t size = (bytes + page - 1) / page * page;
    void* found =
        mmap(nullptr, size + huge_page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (found == MAP_FAILED) throw std::bad_alloc();
    char* base = static_cast<char*>(found);
    const std::size_t before =
        (huge_page - reinterpret_cast<std::uintptr_t>(base) % huge_page) % huge_page;
    if (before > 0) (void)munmap(base, before);
    if (before < huge_page) (void)munmap(base + before + size, huge_page - before);
    memory_ = {reinterpret_cast<float*>(base + before), FreeBuffer{size}};
#if defined(MADV_HUGEPAGE)
    // Only advice. Pages of 4 KB cost a step of 100 MB some 25,000 faults.
    (void)madvise(base + before, size, MADV_HUGEPAGE);
#endif
  }
#endif

  std::unique_ptr<float, FreeBuffer> memory_;
  std::int64_t floats_ = 0;
};

}  // namespace pyedge
