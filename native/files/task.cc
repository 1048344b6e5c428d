#include "files/task.h"

#include <algorithm>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "files/fs_error.h"

namespace obd::files {

void Task::check() const {
  if (cancelled.load(std::memory_order_relaxed)) throw FsError("context canceled", ECANCELED);
}

size_t worker_count() { return std::max(2u, std::thread::hardware_concurrency()); }

void parallel_for(size_t count, const std::function<void(size_t)>& fn) {
  std::atomic<size_t> next{0};
  std::exception_ptr failure;
  std::mutex mutex;
  auto work = [&]() {
    for (size_t i = next++; i < count; i = next++) {
      try {
        fn(i);
      } catch (...) {
        std::lock_guard<std::mutex> lock(mutex);
        if (!failure) failure = std::current_exception();
        next = count;
      }
    }
  };
  std::vector<std::thread> helpers;
  try {
    for (size_t i = 1; i < std::min(count, worker_count()); i++) helpers.emplace_back(work);
  } catch (const std::system_error&) {
    // those that could be started do it all
  }
  work();
  for (auto& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace obd::files
