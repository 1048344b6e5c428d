// A remote blob while it is opened: the few pieces this takes are fetched as they are asked for, not by
// extents, whose borders only the opened format knows. Afterwards all reads go to the blob itself.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "blob/fetch_manager.h"
#include "blob/remote_blob.h"

namespace obd {

class OpeningBlob : public Blob {
 public:
  explicit OpeningBlob(std::shared_ptr<RemoteBlob> blob) : blob_(std::move(blob)) {}

  uint64_t size() const override { return blob_->size(); }
  const std::string& name() const override { return blob_->name(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  bool try_read_plain(void* buf, size_t count, uint64_t offset) override {
    return finished_.load(std::memory_order_acquire) && blob_->try_read_plain(buf, count, offset);
  }
  // While it is opened, everything is forgotten and fetched again, a few times.
  bool distrust(uint64_t offset, size_t count, Misses& misses) override;

  // Takes what another process has kept, or the blob's last bytes from the registry.
  void begin(FetchManager& fetches);
  // Forgets everything, to fetch it again from another place.
  void start_over();
  // Fetches what was missing since the last call. Throws FetchError.
  void fetch_missing(FetchManager& fetches);
  // From now on the blob is read, and its cache entry knows what opening it needs.
  void finish();

 private:
  void fetch(FetchManager& fetches, BlobRange range);
  bool copy(char* buf, size_t count, uint64_t offset) const;

  const std::shared_ptr<RemoteBlob> blob_;
  std::atomic<bool> finished_{false};
  std::vector<BlobPiece> pieces_;  // ascending, apart from each other
  std::vector<BlobRange> missing_;
  bool again_ = false;
  int doubts_ = 0;
};

}  // namespace obd
