// A place in one arena for everything, by the time that it is needed.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace pyedge {

constexpr std::int64_t arena_alignment = 16;  // floats: a cache line

// From the first to the last step that uses a buffer; last < 0: it is not used.
struct Life {
  std::int64_t floats = 0;
  int first = 1 << 30, last = -1;
  void use(int time) {
    first = std::min(first, time);
    last = std::max(last, time);
  }
};

struct ArenaBlock {
  Life life;
  std::int64_t* offset;  // set by place_blocks, in floats
};

// Where it lies, in floats.
struct Placed {
  Life life;
  std::int64_t at;
};

// The floats to set aside for so many: what is read by whole vectors reaches a little beyond its
// end.
std::int64_t padded_floats(std::int64_t floats);

// The same for each of several workers; none for none.
inline std::int64_t worker_floats(std::int64_t floats) {
  return floats > 0 ? padded_floats(floats) : 0;
}

// Largest first, each at the lowest place where nothing that lives at the same time lies. Returns
// the floats that all take together.
std::int64_t place_blocks(std::vector<ArenaBlock>& blocks);

}  // namespace pyedge
