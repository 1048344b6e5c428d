// Fetches what a read would miss, before anybody reads it.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>

#include "blob/fetch_manager.h"

namespace obd {

// Bytes [begin, end) of whatever `try_read(buf, count, offset, misses)` reads, looked at in parts.
template <typename TryRead>
void prefetch_read(FetchManager& fetches, uint64_t begin, uint64_t end, TryRead try_read) {
  constexpr uint64_t kPart = 1 << 20;
  const std::unique_ptr<char[]> unused(new char[kPart]);
  for (uint64_t at = begin; at < end; at += kPart) {
    Misses misses;
    try_read(unused.get(), static_cast<size_t>(std::min(kPart, end - at)), at, misses);
    for (const Miss& miss : misses) fetches.prefetch(*miss.blob, miss.extent, 1);
  }
}

}  // namespace obd
