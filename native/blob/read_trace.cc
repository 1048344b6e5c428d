#include "blob/read_trace.h"

#include <utility>

namespace obd {

thread_local ReadTrace* ReadTrace::current_ = nullptr;

void ReadTrace::add(const std::string& digest, uint64_t first, uint64_t last, uint64_t total) {
  const std::lock_guard lock(mutex_);
  std::vector<bool>& seen = seen_[digest];
  if (seen.empty()) seen.resize(total);
  for (uint64_t extent = first; extent <= last; ++extent) {
    if (seen[extent]) continue;
    seen[extent] = true;
    if (!runs_.empty() && runs_.back().digest == digest && runs_.back().first + runs_.back().count == extent) {
      ++runs_.back().count;
    } else {
      runs_.push_back({digest, extent, 1});
    }
  }
}

std::vector<TracedRun> ReadTrace::take() {
  const std::lock_guard lock(mutex_);
  seen_.clear();
  return std::exchange(runs_, {});
}

}  // namespace obd
