// Gets missing extents of remote blobs: an extent is fetched once however many readers wait for it, here and
// in other processes, neighbours go out as one request, and only so many requests are under way at a time.
// What a reader waits for goes before what was only foreseen. Whoever does the fetching (TypeScript, by
// HTTP) is asked through `send` and answers with receive(), and complete() or fail(): readers get each extent as
// soon as it has come.
#pragma once
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "blob/fetch_in_flight.h"
#include "blob/remote_blob.h"
#include "blob/wanted_extents.h"
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

class FetchManager {
 public:
  using Send = std::function<void(const FetchRequest&)>;
  using Done = std::function<void(std::exception_ptr)>;

  // `send` is called on any thread and must not block; `on_stored` on a completion thread, with the bytes
  // that were added to the block cache.
  explicit FetchManager(Send send, std::function<void(uint64_t)> on_stored = nullptr);
  // Fails what is under way, then waits for the callbacks to end.
  ~FetchManager();

  // Calls `done` on a completion thread once every extent of `misses` is local, or with the first error.
  // The caller keeps the blobs alive until this returns; from then on the manager does.
  void when_local(const Misses& misses, Done done);
  // The same, waiting. Never on a thread that serves a device, nor in a `done`.
  void wait_local(const Misses& misses);
  // Gets `count` extents from `first` on before anybody asks for them, as far as they are not there.
  void prefetch(RemoteBlob& blob, uint64_t first, uint64_t count);
  // Bytes of a blob that go past its extents and the cache. Waits as wait_local does. Throws FetchError.
  std::string fetch_bytes(RemoteBlob& blob, uint64_t offset, uint64_t length, bool again);

  // The answers to a request. An unknown id is ignored. receive() takes the next bytes, one caller at a time for each
  // id, and copies them; complete() says that they were the last, so that a wrong length fails what is missing.
  void receive(uint64_t id, const char* data, size_t count);
  void complete(uint64_t id);
  void fail(uint64_t id, const std::string& reason);

  // Bytes received since the start, by digest.
  std::map<std::string, uint64_t> fetched() const;
  // From now on notes which bytes these are: those that came twice twice.
  void note_ranges();
  // What was noted, by digest, neighbours that came one after the other as one.
  std::map<std::string, std::vector<BlobRange>> fetched_ranges() const;

 private:
  // An extent that another process fetches.
  struct Foreign {
    std::shared_ptr<RemoteBlob> blob;
    Waiters waiters;
    std::chrono::steady_clock::time_point since;
  };
  // What has to be done once the mutex is free.
  struct Actions {
    std::vector<FetchRequest> send;
    std::vector<std::shared_ptr<Waiter>> ready;
    std::vector<std::function<void()>> bytes;  // answers of fetch_bytes
  };

  void read_ahead(const Misses& misses);
  void read_ahead(RemoteBlob& blob, uint64_t first, uint64_t next);
  void foresee(RemoteBlob& blob, uint64_t first, uint64_t end);
  void passed(RemoteBlob& blob, uint64_t extent);
  Waiters* find_extent(RemoteBlob* blob, uint64_t extent);
  void take_sendable(Actions& actions);
  bool take_request(WantedExtents& from, uint64_t limit, Actions& actions);
  bool claim(RemoteBlob& blob, uint64_t extent, Waiters& waiters, Actions& actions);
  void send_request(std::shared_ptr<FetchInFlight> fetch, Actions& actions);
  void watch_foreign();
  void end(uint64_t id, const std::string& failure);
  void settle(uint64_t id);
  std::string store(const FetchInFlight& fetch, size_t index, bool& damaged);
  void settle_extent(FetchInFlight& fetch, const std::string& problem, bool damaged, Actions& actions);
  void finish(FetchInFlight& fetch, Actions& actions);
  void ask_again(FetchInFlight& fetch, Actions& actions);
  void note(const std::string& digest, BlobRange range);
  static void release(const Waiters& waiters, const std::exception_ptr& error, Actions& actions);
  void act(const Actions& actions, bool here);

  const Send send_;
  const std::function<void(uint64_t)> on_stored_;
  const std::shared_ptr<RemoteBlob::Passed> passed_;
  mutable std::mutex mutex_;
  WantedExtents demanded_, foreseen_;
  std::map<std::pair<RemoteBlob*, uint64_t>, Foreign> foreign_;
  std::unordered_map<uint64_t, std::shared_ptr<FetchInFlight>> in_flight_;
  uint64_t next_id_ = 1;
  std::map<std::string, uint64_t> fetched_;
  bool notes_ranges_ = false;
  std::map<std::string, std::vector<BlobRange>> fetched_ranges_;
  bool ending_ = false;
  std::condition_variable foreign_changed_;
  WorkerThreads workers_;
  std::thread foreign_watch_;  // started when it is needed
};

}  // namespace obd
