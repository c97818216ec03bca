// First fit, largest first.
#include "engine/arena.hpp"

namespace pyedge {

std::int64_t padded_floats(std::int64_t floats) {
  return (floats + 2 * arena_alignment - 1) / arena_alignment * arena_alignment;
}

std::int64_t place_blocks(std::vector<ArenaBlock>& blocks) {
  std::stable_sort(blocks.begin(), blocks.end(), [](const ArenaBlock& a, const ArenaBlock& b) {
    return a.life.floats > b.life.floats;
  });
  std::int64_t end = 0;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Life& life = blocks[i].life;
    std::vector<const ArenaBlock*> beside;
    for (std::size_t k = 0; k < i; ++k) {
      const Life& other = blocks[k].life;
      if (other.first <= life.last && life.first <= other.last) beside.push_back(&blocks[k]);
    }
    std::sort(beside.begin(), beside.end(),
              [](const ArenaBlock* a, const ArenaBlock* b) { return *a->offset < *b->offset; });
    std::int64_t start = 0;
    for (const ArenaBlock* other : beside) {
      if (start + padded_floats(life.floats) <= *other->offset) break;
      start = std::max(start, *other->offset + padded_floats(other->life.floats));
    }
    *blocks[i].offset = start;
    end = std::max(end, start + padded_floats(life.floats));
  }
  return end;
}

}  // namespace pyedge
