// The last step of a search in an index: to count takes no branch that could be predicted wrong.
#pragma once
#include <cstddef>

namespace obd {

// For how many i of 0 .. 15 `holds(i)` is true: in four sums, since one would wait for itself each time.
template <typename F>
size_t count_of_16(F holds) {
  size_t a = 0, b = 0, c = 0, d = 0;
  for (size_t i = 0; i < 16; i += 4) {
    a += holds(i);
    b += holds(i + 1);
    c += holds(i + 2);
    d += holds(i + 3);
  }
  return a + b + c + d;
}

}  // namespace obd
