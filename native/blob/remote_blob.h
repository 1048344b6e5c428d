// A blob in a registry, read through its block cache entry. It never fetches by itself: try_read()
// reports what is missing, FetchManager gets it and calls store().
#pragma once
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "blob/blob.h"
#include "blob/cache_file.h"

namespace obd {

class RemoteBlob final : public Blob, public std::enable_shared_from_this<RemoteBlob> {
 public:
  // `source` says where the blob is; it is handed to whoever fetches and not looked at here. Throws
  // std::system_error.
  RemoteBlob(std::string digest, uint64_t size, std::string source, const std::string& cache_dir);

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return digest_; }
  // Throws FormatError for good once the blob as a whole turned out to be another one.
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  bool try_read_plain(void* buf, size_t count, uint64_t offset) override;
  // Says yes once in a minute for each extent: bytes that are still wrong after a second fetch are what
  // the registry has. Either way the extents are forgotten.
  bool distrust(uint64_t offset, size_t count, Misses& misses) override;

  // Makes extents of whole blocks, which are checked when they come. Before the first read.
  void set_blocks(std::unique_ptr<const BlockMap> blocks);
  // What is wrong with an extent's bytes; empty when nothing is known against them.
  std::string check(uint64_t extent, const void* data) const;
  // Stores one whole extent. Throws std::system_error.
  void store(uint64_t extent, const void* data) { cache_.store(extent, data); }
  // Keeps what the blocks of extents [first, end), whose bytes are `data`, hold decompressed, for those who read them
  // again. Blocks that are damaged, or compressed so well that it is of no use, are left out. Returns the bytes kept.
  uint64_t keep_plain(uint64_t first, uint64_t end, const char* data);
  // Compares the blob with its digest as soon as all of it is here, once for all processes. What is wrong;
  // then everything is forgotten and reads fail. As long as nobody has read any of it, it is fetched once more
  // before that.
  std::string check_whole();

  const std::string& source() const { return source_; }
  const ExtentLayout& layout() const { return cache_.layout(); }
  bool has(uint64_t extent) { return cache_.has(extent); }
  bool is_known(uint64_t extent) const { return cache_.is_known(extent); }
  CacheFile& cache() { return cache_; }

  // What is called when a reader comes to an extent; not any more once it was stopped.
  class Passed {
   public:
    explicit Passed(std::function<void(RemoteBlob&, uint64_t)> call) : call_(std::move(call)) {}
    void operator()(RemoteBlob& blob, uint64_t extent) {
      const std::lock_guard lock(mutex_);
      if (call_) call_(blob, extent);
    }
    void stop() {
      const std::lock_guard lock(mutex_);
      call_ = nullptr;
    }

   private:
    std::mutex mutex_;
    std::function<void(RemoteBlob&, uint64_t)> call_;
  };
  // Calls `passed` once, on the reader's thread, when `extent` is read from the cache. Replaces an earlier wish; always
  // with the same `passed`.
  void call_at(uint64_t extent, const std::shared_ptr<Passed>& passed) {
    if (!passed_) passed_ = passed;
    call_at_.store(extent, std::memory_order_release);
  }

  // Extents that somebody said would be read, before they were. Under the fetch manager's lock.
  void foresee(uint64_t extent) {
    foreseen_.resize(layout().count());
    foreseen_[extent] = true;
  }
  bool is_foreseen(uint64_t extent) const { return extent < foreseen_.size() && foreseen_[extent]; }

 private:
  void forget_all();
  // A reader got these extents, or what they hold.
  void note_read(uint64_t first, uint64_t last);

  const std::string digest_;
  const uint64_t size_;
  const std::string source_;
  CacheFile cache_;
  std::unique_ptr<const BlockMap> blocks_;
  std::vector<bool> foreseen_;
  std::shared_ptr<Passed> passed_;
  std::atomic<uint64_t> call_at_{UINT64_MAX};
  std::atomic<bool> condemned_{false};
  std::atomic<bool> was_read_{false};
  std::mutex digest_mutex_;
  bool digest_checked_ = false, fetched_again_ = false;
  std::string condemned_because_;
  std::shared_mutex plain_mutex_;
  bool doubted_ = false;  // the whole was: then nothing more is kept decompressed
  std::mutex doubts_mutex_;
  std::unordered_map<uint64_t, std::chrono::steady_clock::time_point> doubts_;  // by extent
};

}  // namespace obd
