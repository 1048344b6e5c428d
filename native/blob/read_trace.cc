#include "blob/read_trace.h"

#include <utility>

namespace obd {

thread_local ReadTrace* ReadTrace::current_ = nullptr;

ReadTrace::Seen* ReadTrace::find(const std::string& digest) const {
  Seen* seen = first_.load(std::memory_order_acquire);
  while (seen && seen->digest != digest) seen = seen->next;
  return seen;
}

void ReadTrace::add(const std::string& digest, uint64_t first, uint64_t last, uint64_t total) {
  Seen* seen = find(digest);
  if (seen) {
    while (first <= last && seen->has(first)) ++first;
    if (first > last) return;
  }
  const std::lock_guard lock(mutex_);
  if (!seen) seen = find(digest);  // another thread may have been quicker
  if (!seen) {
    seen = &seen_.emplace_back(digest, total);
    seen->next = first_.load(std::memory_order_relaxed);
    first_.store(seen, std::memory_order_release);
  }
  note(*seen, first, last);
}

void ReadTrace::note(Seen& seen, uint64_t first, uint64_t last) {
  for (uint64_t extent = first; extent <= last; ++extent) {
    if (seen.has(extent)) continue;
    seen.bits[extent / 64].fetch_or(uint64_t{1} << extent % 64, std::memory_order_relaxed);
    if (!runs_.empty() && runs_.back().digest == seen.digest && runs_.back().first + runs_.back().count == extent) {
      ++runs_.back().count;
    } else {
      runs_.push_back({seen.digest, extent, 1});
    }
  }
}

std::vector<TracedRun> ReadTrace::take() {
  const std::lock_guard lock(mutex_);
  for (Seen& seen : seen_) {
    for (std::atomic<uint64_t>& bits : seen.bits) bits.store(0, std::memory_order_relaxed);
  }
  return std::exchange(runs_, {});
}

}  // namespace obd
