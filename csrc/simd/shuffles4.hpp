// Byte shuffles that move the chosen of four floats together (compress) or apart (expand), one
// for each of the 16 masks: AVX2 and NEON have no instruction for it, but both shuffle bytes and
// write zero where the index has its top bit set.
#pragma once

#include <cstdint>

namespace {

struct Shuffles4 {
  alignas(16) std::uint8_t compress[16][16];
  alignas(16) std::uint8_t expand[16][16];
};

constexpr Shuffles4 make_shuffles4() {
  Shuffles4 table{};
  for (int mask = 0; mask < 16; ++mask) {
    for (int byte = 0; byte < 16; ++byte) {
      table.compress[mask][byte] = 0x80;
      table.expand[mask][byte] = 0x80;
    }
    int packed = 0;
    for (int lane = 0; lane < 4; ++lane) {
      if (!(mask >> lane & 1)) continue;
      for (int byte = 0; byte < 4; ++byte) {
        table.compress[mask][4 * packed + byte] = static_cast<std::uint8_t>(4 * lane + byte);
        table.expand[mask][4 * lane + byte] = static_cast<std::uint8_t>(4 * packed + byte);
      }
      ++packed;
    }
  }
  return table;
}

constexpr Shuffles4 shuffles4 = make_shuffles4();

}  // namespace
