#include "blob/fetch_in_flight.h"

#include <algorithm>

namespace obd {

Waiters* FetchInFlight::find(const RemoteBlob* wanted, uint64_t extent) {
  if (blob.get() != wanted || extent < first_extent) return nullptr;
  const uint64_t index = extent - first_extent;
  if (index >= waiters.size()) return nullptr;
  const bool is_coming = index >= settled || std::find(damaged.begin(), damaged.end(), index) != damaged.end();
  return is_coming ? &waiters[index] : nullptr;
}

}  // namespace obd
