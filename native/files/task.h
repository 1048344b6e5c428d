// One running piece of file work as its caller sees it: a way to cancel it, and counters to poll.
#pragma once
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace obd::files {

struct Task {
  std::atomic<bool> cancelled{false};
  std::atomic<uint64_t> bytes{0};  // file content read or written so far
  std::atomic<uint64_t> files{0};  // files done so far
  // Throws FsError "context canceled" (ECANCELED) once the task was cancelled.
  void check() const;
};

// Threads worth starting for CPU work.
size_t worker_count();

// Calls fn(0) .. fn(count - 1), each once, on up to worker_count() threads, the caller's included. The
// first exception ends it and is rethrown here.
void parallel_for(size_t count, const std::function<void(size_t)>& fn);

}  // namespace obd::files
