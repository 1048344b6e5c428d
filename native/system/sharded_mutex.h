// A shared mutex for what every request reads and few change: readers on different threads do not touch the same
// memory, so that queues do not slow each other down. A writer pays for it, by taking every shard.
#pragma once
#include <pthread.h>

#include <array>
#include <atomic>
#include <cstddef>

namespace obd {

// To be used with std::shared_lock and std::unique_lock. A reader unlocks on the thread that locked, and does not lock
// twice.
class ShardedMutex {
 public:
  void lock_shared() { ::pthread_rwlock_rdlock(&own().lock); }
  void unlock_shared() { ::pthread_rwlock_unlock(&own().lock); }
  void lock() {
    for (Shard& shard : shards_) ::pthread_rwlock_wrlock(&shard.lock);
  }
  void unlock() {
    for (Shard& shard : shards_) ::pthread_rwlock_unlock(&shard.lock);
  }

 private:
  // As many threads read at once without meeting: the queues of a device, and its helpers.
  static constexpr size_t kShards = 8;
  static constexpr size_t kCacheLines = 128;  // two: processors fetch them in pairs
  struct alignas(kCacheLines) Shard {
    // Not std::shared_mutex, which makes a writer wait for as long as there are readers.
    pthread_rwlock_t lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
  };

  Shard& own() {
    static std::atomic<size_t> threads{0};
    thread_local const size_t number = threads.fetch_add(1, std::memory_order_relaxed);
    return shards_[number % kShards];
  }

  std::array<Shard, kShards> shards_;
};

}  // namespace obd
