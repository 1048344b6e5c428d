// One remote blob's entry in the block cache: a sparse file that holds the extents fetched so far and a
// table that says which, with a checksum each. Several processes may use one file at once, and it may be
// deleted at any time: whoever has it open goes on.
//
//   [header 4096][table: 8 bytes an extent, rounded up to 4096][pieces: at the blob's offsets][data: a slot an extent]
//   [what the extents hold, decompressed: see PlainCopy]
//
// The header page also lists the pieces that opening the blob needed (trailer, index), which lie apart because nobody
// knows the extents yet, and says whether the whole blob was compared with its digest. Slots are multiples of 64 KiB:
// the kernel keeps aligned data in large pieces of memory, which are read twice as fast as many small ones.
//
// A table entry is written after its data, and an entry is trusted only once its checksum was compared in
// this process: what a crash or the disk tore is found and fetched again.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "blob/extent_layout.h"
#include "blob/plain_copy.h"
#include "system/unique_fd.h"

namespace obd {

// Bytes of a blob.
struct BlobPiece {
  uint64_t offset;
  std::string bytes;
};

class CacheFile {
 public:
  // Opens or creates the entry of blob `digest` (`size` bytes) in directory `dir`, which is made when it is
  // missing. A file that is not a cache entry of that blob is replaced. As long as it is open, nobody evicts
  // it (trim_cache). Throws std::system_error.
  CacheFile(const std::string& dir, const std::string& digest, uint64_t size);

  // Cuts the extents anew, into blocks that hold `plain_size` bytes decompressed; 0 if there are no blocks. Before any
  // of them is used.
  void set_layout(ExtentLayout layout, uint64_t plain_size);
  const ExtentLayout& layout() const { return layout_; }

  // `on_disk`: nobody knows until the disk is read, which OnlyCached forbids to wait for.
  enum class State { absent, sound, on_disk };
  // Whether the extent is here and sound. Compares its checksum the first time.
  State state(uint64_t extent);
  // The same on a thread that may wait.
  bool has(uint64_t extent) { return state(extent) == State::sound; }
  // Whether the extent is known to be here. Does no I/O.
  bool is_known(uint64_t extent) const { return sound_[extent].load(std::memory_order_relaxed); }
  // Reads inside extents that are sound. What it returns is the state of all bytes: absent when they are gone (the file was
  // truncated).
  State read(void* buf, size_t count, uint64_t offset);
  // Stores a whole extent. Throws std::system_error.
  void store(uint64_t extent, const void* data);
  // Forgets the extent, here and for other processes.
  void forget(uint64_t extent) noexcept;
  // Forgets everything, what the blocks hold as well.
  void forget_all() noexcept;

  // What the blocks hold, as far as it is kept; null without blocks.
  PlainCopy* plain() { return plain_.get(); }

  // Says to other processes that we fetch this extent; false when one of them says so already. Ends with
  // unlock() or with this process.
  bool try_lock(uint64_t extent);
  void unlock(uint64_t extent) noexcept;
  // The same for opening the blob.
  bool try_lock_opening();
  void unlock_opening() noexcept;

  // What opening the blob needed, as another process has kept it; nothing when it is not there or damaged.
  std::vector<BlobPiece> opening_pieces();
  void keep_opening_pieces(const std::vector<BlobPiece>& pieces);

  // Whether every extent is here and sound. Cheap as long as the table lacks one.
  bool is_complete();
  // "sha256:..." of the data.
  std::string compute_digest();
  bool is_digest_checked() const;
  void set_digest_checked();

 private:
  bool open_existing();
  void create();
  bool matches_header() const;
  State check_on_disk(uint64_t extent);
  uint64_t position(uint64_t extent) const { return data_start_ + extent * slot_; }
  bool lock_bytes(short type, uint64_t offset, uint64_t count) noexcept;

  std::string path_;
  std::string digest_;
  uint64_t size_;
  ExtentLayout layout_;
  uint64_t slot_;  // bytes of the file for an extent
  uint64_t pieces_start_, data_start_;
  UniqueFd fd_;
  std::unique_ptr<PlainCopy> plain_;
  std::unique_ptr<std::atomic<bool>[]> sound_;   // checked in this process
  std::atomic<uint64_t> complete_to_{0};  // extents before this one are in the table
};

}  // namespace obd
