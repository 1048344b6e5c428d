// Which extents of remote blobs a disk's reads have touched, in the order of the first touch: what a next
// cold build of the same step will want.
#pragma once
#include <cstdint>
#include <mutex>
#include <string>
#include <unordered_map>
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

  // The extents from `first` to `last` of `digest`, which has `total`, were read.
  void add(const std::string& digest, uint64_t first, uint64_t last, uint64_t total);
  // What came since the last call.
  std::vector<TracedRun> take();

 private:
  static thread_local ReadTrace* current_;
  std::mutex mutex_;
  std::unordered_map<std::string, std::vector<bool>> seen_;
  std::vector<TracedRun> runs_;
};

}  // namespace obd
