// Which extents of remote blobs a disk's reads have touched, in the order of the first touch: what a next
// cold build of the same step will want.
#pragma once
#include <atomic>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <vector>

namespace obd {

// Neighbouring extents of a blob.
struct TracedRun {
  std::string digest;
  uint64_t first, count;
};

class ReadTrace {
 public:
  // As long as one lives, reads on this thread are noted in `trace`.
  class Scope {
   public:
    explicit Scope(ReadTrace& trace) : outer_(current_) { current_ = &trace; }
    ~Scope() { current_ = outer_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    ReadTrace* outer_;
  };
  // Null when nobody wants to know.
  static ReadTrace* current() { return current_; }

  // The extents from `first` to `last` of `digest`, which has `total`, were read. Takes a lock, and allocates, only when
  // one of them was not before.
  void add(const std::string& digest, uint64_t first, uint64_t last, uint64_t total);
  // What came since the last call.
  std::vector<TracedRun> take();

 private:
  // Of one blob. Stays until the end, so that it is looked up without a lock.
  struct Seen {
    Seen(const std::string& digest, uint64_t total) : digest(digest), bits(total / 64 + 1) {}
    bool has(uint64_t extent) const { return (bits[extent / 64].load(std::memory_order_relaxed) >> extent % 64 & 1) != 0; }
    const std::string digest;
    std::vector<std::atomic<uint64_t>> bits;  // one an extent
    Seen* next = nullptr;
  };
  Seen* find(const std::string& digest) const;
  void note(Seen& seen, uint64_t first, uint64_t last);

  static thread_local ReadTrace* current_;
  std::atomic<Seen*> first_{nullptr};
  std::mutex mutex_;  // whoever adds what was not seen, or takes it
  std::deque<Seen> seen_;
  std::vector<TracedRun> runs_;
};

}  // namespace obd
