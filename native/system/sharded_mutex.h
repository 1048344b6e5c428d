// A shared mutex for what every request reads and few change. Each queue that requests come from has a lock of its own in
// it, so that queues do not slow each other down: their readers do not even touch the same memory. A writer pays for it,
// by taking all of these locks.
#pragma once
#include <pthread.h>

#include <array>
#include <cstddef>
#include <utility>

namespace obd {

// To be used with std::shared_lock and std::unique_lock. A reader unlocks on the thread that locked, and does not lock
// twice.
class ShardedMutex {
 public:
  // The most that a device server has for one disk.
  static constexpr size_t kQueues = 8;

  // As long as one lives, this thread reads for queue `number` of the disk that it serves.
  class ForQueue {
   public:
    explicit ForQueue(size_t number) : outer_(std::exchange(shard_, number % kQueues)) {}
    ~ForQueue() { shard_ = outer_; }
    ForQueue(const ForQueue&) = delete;
    ForQueue& operator=(const ForQueue&) = delete;

   private:
    const size_t outer_;
  };

  void lock_shared() { ::pthread_rwlock_rdlock(&shards_[shard_].lock); }
  void unlock_shared() { ::pthread_rwlock_unlock(&shards_[shard_].lock); }
  void lock() {
    for (Shard& shard : shards_) ::pthread_rwlock_wrlock(&shard.lock);
  }
  void unlock() {
    for (Shard& shard : shards_) ::pthread_rwlock_unlock(&shard.lock);
  }

 private:
  static constexpr size_t kCacheLines = 128;  // two: processors fetch them in pairs
  struct alignas(kCacheLines) Shard {
    // Not std::shared_mutex, which makes a writer wait for as long as there are readers.
    pthread_rwlock_t lock = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
  };
  // The last one is for those who read for no queue: reads that waited for the network, and our own.
  static inline thread_local size_t shard_ = kQueues;

  std::array<Shard, kQueues + 1> shards_;
};

}  // namespace obd
