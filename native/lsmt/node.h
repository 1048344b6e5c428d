// What the search in an index counts at once.
#pragma once
#include <cstddef>

namespace obd {

// Children of a node, segments of a group: 8-byte offsets of a node fill two cache lines, and counting those below
// a sector takes no branch that could be predicted wrong.
constexpr size_t kFanout = 16;

// For how many of a node's children `holds` is true: four sums, since one would wait for itself each time.
template <typename F>
size_t count_in_node(F holds) {
  static_assert(kFanout % 4 == 0);
  size_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < kFanout; i += 4) {
    a += holds(i);
    b += holds(i + 1);
    c += holds(i + 2);
    d += holds(i + 3);
  }
  return a + b + c + d;
}

}  // namespace obd
