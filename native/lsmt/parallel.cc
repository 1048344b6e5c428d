#include "lsmt/parallel.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace obd {

void for_each_parallel(uint64_t count, unsigned threads, const std::function<void(uint64_t)>& work) {
  std::atomic<uint64_t> next{0};
  std::mutex mutex;
  std::exception_ptr error;
  auto fail = [&] {
    std::lock_guard lock(mutex);
    if (!error) error = std::current_exception();
    next = count;
  };
  auto run = [&] {
    try {
      for (uint64_t i; (i = next++) < count;) work(i);
    } catch (...) {
      fail();
    }
  };
  std::vector<std::thread> helpers;
  try {
    while (helpers.size() + 1 < std::min<uint64_t>(threads, count)) helpers.emplace_back(run);
  } catch (...) {
    fail();
  }
  run();
  for (auto& t : helpers) t.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace obd
