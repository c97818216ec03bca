// A block of floats that begins on a cache line; large ones on pages of 2 MB where there are any.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace pyedge {

class Buffer {
 public:
  Buffer() = default;
  // Zeros. Throws std::bad_alloc.
  explicit Buffer(std::int64_t floats) : floats_(floats) {
    constexpr std::size_t huge_page = std::size_t{2} << 20;
    const std::size_t bytes = (static_cast<std::size_t>(floats) * sizeof(float) + 127) / 64 * 64;
    void* memory = nullptr;
    if (posix_memalign(&memory, bytes >= huge_page ? huge_page : 64, bytes) != 0) {
      throw std::bad_alloc();
    }
    memory_.reset(static_cast<float*>(memory));
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    // Only advice. Pages of 4 KB cost a step of 100 MB some 25,000 faults.
    if (bytes >= huge_page) (void)madvise(memory, bytes, MADV_HUGEPAGE);
#endif
    std::memset(memory, 0, bytes);
  }
  float* data() { return memory_.get(); }
  const float* data() const { return memory_.get(); }
  std::int64_t floats() const { return floats_; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::unique_ptr<float, Free> memory_;
  std::int64_t floats_ = 0;
};

}  // namespace pyedge
