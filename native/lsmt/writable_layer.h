// A layer being written: the reference's append-only pair of files (FORMATS.md 2.4). The data file is a
// header and then every write in order of arrival; the index file says where each of them belongs.
// Records are appended to the index file in batches, always after their data, so both files can be
// reopened after the process was killed; what was not flushed is lost, what was flushed is whole.
#pragma once
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "lsmt/layer.h"
#include "lsmt/lsmt_format.h"
#include "lsmt/mutable_index.h"

namespace obd {

class WritableLayer : public Layer {
 public:
  // Creates both files, or none: fails with EEXIST when one is there. `virtual_size` in bytes, a multiple of 512;
  // uuids as 8-4-4-4-12 hex or empty (std::invalid_argument otherwise).
  static std::shared_ptr<WritableLayer> create(const std::string& data_path, const std::string& index_path,
                                               uint64_t virtual_size, const std::string& uuid,
                                               const std::string& parent_uuid);
  // Opens an existing pair for further writes. Throws FormatError when the files contradict each other, or
  // when the data file is a sparse one (FORMATS.md 2.6), which can only be read.
  static std::shared_ptr<WritableLayer> open(const std::string& data_path, const std::string& index_path);
  // Opens an existing pair, append-only or sparse, for reading: the layer is frozen, the files do not change.
  static std::shared_ptr<WritableLayer> open_frozen(const std::string& data_path, const std::string& index_path);
  ~WritableLayer() override;

  const std::string& name() const override { return data_path_; }
  uint64_t virtual_size() const override { return header_.virtual_size; }
  const std::string& uuid() const override { return header_.uuid; }
  const std::string& parent_uuid() const override { return header_.parent_uuid; }
  std::shared_ptr<Blob> data() const override;
  std::shared_ptr<const FrozenIndex> index() const override;
  const LsmtHeader& header() const { return header_; }

  // Offsets and counts are multiples of 512. Thread-safe, also against readers; of two writes to the same
  // sectors at the same time either may win. Throw std::system_error (EROFS once frozen).
  void write(const void* buf, size_t count, uint64_t offset);
  void discard(uint64_t offset, uint64_t count);

  // The two halves of `write`, for a stack that keeps an index of its own: append stores bytes and returns
  // the sector of the data file where they are; map then makes them the content of the disk at `sector`.
  // `map` calls `mapped(segment)` for each record, in the order of the index, while that order is locked.
  // A zeroed range has no data: `moffset` is not looked at.
  uint64_t append(const void* buf, size_t count);
  void map(uint64_t sector, uint64_t sectors, uint64_t moffset, bool zeroed,
           const std::function<void(const Segment&)>& mapped = nullptr);

  // Calls visit for each segment that meets the sectors [begin, end), clipped.
  void for_each(uint64_t begin, uint64_t end, const std::function<void(const Segment&)>& visit) const;

  // Appends pending records to the index file. Safe against the death of the process, not of the machine:
  // a writable layer is scratch until it is committed.
  void flush();
  // Flushes; every later write fails with EROFS, and index() is allowed.
  void freeze();
  bool frozen() const { return frozen_.load(); }

  uint64_t data_bytes() const { return tail_.load(); }  // of the data file, header included
  size_t segments() const;
  uint64_t records() const;  // in the index file
  size_t index_memory() const;

 private:
  class DataFile;
  WritableLayer(std::string data_path, std::string index_path);
  void open_files(int flags);
  void write_headers();
  void load();
  void load_records();
  void load_extents();
  void add_pending(const Segment& s);
  void flush_locked();
  void check_writable() const;

  std::string data_path_, index_path_;
  std::shared_ptr<DataFile> data_;
  int index_fd_ = -1;
  LsmtHeader header_;
  std::atomic<uint64_t> tail_{kLsmtHeaderSize};  // end of the data file, bytes
  std::atomic<bool> frozen_{false};

  mutable std::shared_mutex mutex_;  // everything below
  mutable MutableIndex map_;         // until frozen_index_ takes its place
  std::vector<Segment> pending_;     // not in the index file yet; the last one may still grow
  uint64_t index_tail_ = kLsmtHeaderSize;
  mutable std::shared_ptr<const FrozenIndex> frozen_index_;
};

}  // namespace obd
