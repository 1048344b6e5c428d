// Extents of remote blobs that have to be fetched and that nobody was asked for yet. The blobs take turns.
#pragma once
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "blob/remote_blob.h"

namespace obd {

// Somebody who waits for extents.
struct Waiter {
  explicit Waiter(std::function<void(std::exception_ptr)> done) : done(std::move(done)) {}
  std::function<void(std::exception_ptr)> done;
  size_t missing = 0;
  std::exception_ptr error;
};
using Waiters = std::vector<std::shared_ptr<Waiter>>;

class WantedExtents {
 public:
  bool empty() const { return turn_.empty(); }
  void add(RemoteBlob& blob, uint64_t extent, Waiters waiters);
  // Null when it is not wanted.
  Waiters* find(RemoteBlob* blob, uint64_t extent);
  // Takes one out. False when it is not wanted.
  bool take(RemoteBlob* blob, uint64_t extent, Waiters& waiters);
  // The blob whose turn it is, which then goes to the end of the queue, and its first extent. Not when empty().
  std::pair<std::shared_ptr<RemoteBlob>, uint64_t> next();

 private:
  struct Wanted {
    std::shared_ptr<RemoteBlob> blob;
    std::map<uint64_t, Waiters> extents;
  };
  std::unordered_map<RemoteBlob*, Wanted> blobs_;
  std::deque<RemoteBlob*> turn_;
};

}  // namespace obd
