// Spreads independent pieces of work over threads.
#pragma once
#include <cstdint>
#include <functional>

namespace obd {

// Calls work(0) .. work(count - 1), each once, on up to `threads` threads, this one among them. The first
// exception stops the rest and is thrown here.
void for_each_parallel(uint64_t count, unsigned threads, const std::function<void(uint64_t)>& work);

}  // namespace obd
