// Gets missing extents of remote blobs: an extent is fetched once however many readers wait for it,
// neighbours go out as one request, and only so many requests are under way at a time. Whoever does the
// fetching (TypeScript, by HTTP) is asked through `send` and answers with complete() or fail().
#pragma once
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "blob/remote_blob.h"
#include "blob/worker_threads.h"

namespace obd {

// A range of a remote blob could not be had.
class FetchError : public std::runtime_error {
 public:
  FetchError(const std::string& digest, uint64_t offset, uint64_t length, const std::string& reason)
      : std::runtime_error(digest + ": bytes " + std::to_string(offset) + " to " + std::to_string(offset + length - 1) +
                           ": " + reason),
        digest(digest), offset(offset), reason(reason) {}
  const std::string digest;
  const uint64_t offset;  // of the failed request in the blob
  const std::string reason;
};

struct FetchRequest {
  uint64_t id;
  std::string digest;
  std::string source;  // RemoteBlob::source()
  uint64_t offset;     // bytes
  uint64_t length;
};

class FetchManager {
 public:
  using Send = std::function<void(const FetchRequest&)>;
  using Done = std::function<void(std::exception_ptr)>;

  // `send` is called on any thread and must not block.
  explicit FetchManager(Send send);
  // Fails what is under way, then waits for the callbacks to end.
  ~FetchManager();

  // Calls `done` on a completion thread once every extent of `misses` is local, or with the first error.
  // The caller keeps the blobs alive until this returns; from then on the manager does.
  void when_local(const Misses& misses, Done done);
  // The same, waiting. Never on a thread that serves a device, nor in a `done`.
  void wait_local(const Misses& misses);

  // The answers to a request. An unknown id is ignored. `data` is what was received; a wrong length fails
  // the request.
  void complete(uint64_t id, std::string data);
  void fail(uint64_t id, const std::string& reason);

  // Bytes received since the start, by digest.
  std::map<std::string, uint64_t> fetched() const;

 private:
  struct Waiter;
  using Waiters = std::vector<std::shared_ptr<Waiter>>;
  struct Wanted {  // one blob's extents that nobody was asked for yet
    std::shared_ptr<RemoteBlob> blob;
    std::map<uint64_t, Waiters> extents;
  };
  struct InFlight {
    std::shared_ptr<RemoteBlob> blob;
    FetchRequest request;
    uint64_t first_extent;
    std::vector<Waiters> waiters;  // of each extent
    bool settling = false;
  };

  void want(RemoteBlob& blob, uint64_t extent, std::shared_ptr<Waiter> waiter);
  void read_ahead(const Misses& misses);
  Waiters* find_extent(RemoteBlob* blob, uint64_t extent);
  std::vector<FetchRequest> take_sendable();
  void settle(uint64_t id, const std::string& data, std::string failure);
  static std::string store(const InFlight& fetch, const std::string& data);

  const Send send_;
  mutable std::mutex mutex_;
  std::unordered_map<RemoteBlob*, Wanted> wanted_;
  std::deque<RemoteBlob*> turn_;  // blobs with wanted extents, in the order they get a request
  std::unordered_map<uint64_t, std::unique_ptr<InFlight>> in_flight_;
  uint64_t next_id_ = 1;
  std::map<std::string, uint64_t> fetched_;
  WorkerThreads workers_;
};

}  // namespace obd
