// The virtual disk: sealed or frozen layers below, bottom first, and a writable one on top if wanted.
// A read takes at most two index look-ups whatever the number of layers: one in the index of everything
// written since the stack was made, one in the merged index of the layers it was made of.
#pragma once
#include <functional>
#include <memory>
#include <shared_mutex>
#include <vector>

#include "device/block_device.h"
#include "lsmt/layer.h"
#include "lsmt/mutable_index.h"
#include "lsmt/writable_layer.h"
#include "system/sharded_mutex.h"

namespace obd {

// The layers below a writable one, as they were when it was put on top. Immutable.
class Below {
 public:
  explicit Below(std::shared_ptr<const FrozenIndex> index) : index_(std::move(index)) {}
  Below(std::shared_ptr<WritableLayer> layer, std::shared_ptr<const Below> next)
      : layer_(std::move(layer)), next_(std::move(next)) {}

  // Calls visit(begin, end) for the parts of the sectors [begin, end) that hold data, ascending. Everything
  // else reads as zeros whether or not a zeroed record hides it.
  void for_each_data(uint64_t begin, uint64_t end, const std::function<void(uint64_t, uint64_t)>& visit) const;

 private:
  std::shared_ptr<const FrozenIndex> index_;   // the merged lowers, or
  std::shared_ptr<WritableLayer> layer_;       // a layer frozen by stack_writable,
  std::shared_ptr<const Below> next_;          // which lies on these
};

class Stack : public BlockDevice {
 public:
  // `lowers` bottom first; writable ones must be frozen. `top` may be null: then the disk is read-only.
  // The size is that of the top, else of the topmost lower that has one (FORMATS.md 2.7). Throws FormatError
  // when no layer has a size.
  Stack(std::vector<std::shared_ptr<Layer>> lowers, std::shared_ptr<WritableLayer> top);

  uint64_t size() const override { return size_; }
  bool writable() const override { return writable_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  // std::system_error with EROFS on a read-only stack.
  void write(const void* buf, size_t count, uint64_t offset) override;
  void discard(uint64_t offset, uint64_t count) override;
  void flush() override;

  // The writable layer of a live seal: frozen, with what lies below it.
  struct Frozen {
    std::shared_ptr<WritableLayer> layer;
    std::shared_ptr<const Below> below;
  };
  // Freezes the top and stacks `next` on it, atomically with respect to writes and in constant time. `next`
  // is empty and of the same size. On an exception nothing has changed.
  Frozen stack_writable(std::shared_ptr<WritableLayer> next);
  std::shared_ptr<WritableLayer> top() const;
  // What lies below the present top.
  std::shared_ptr<const Below> below_top() const;

  // Segments in the index of the lowers and in that of later writes, and the bytes they take.
  struct IndexStats {
    size_t lower_segments, written_segments, memory;
  };
  IndexStats index_stats() const;

 private:
  struct Piece {
    Segment segment;
    Blob* blob;  // null for zeroed ranges
  };
  void check_range(uint64_t offset, uint64_t count) const;
  void resolve(uint64_t begin, uint64_t end, std::vector<Piece>& pieces) const;
  void add_lower_pieces(uint64_t begin, uint64_t end, std::vector<Piece>& pieces) const;
  void write_records(uint64_t sector, uint64_t sectors, uint64_t moffset, bool zeroed);

  std::vector<std::shared_ptr<Layer>> lowers_;
  std::vector<std::shared_ptr<Blob>> lower_data_;
  std::shared_ptr<const FrozenIndex> lower_index_;
  uint64_t size_ = 0;
  bool writable_;

  // Writers hold `gate_` shared for the whole write, a live seal holds it alone: no write is half done then.
  mutable std::shared_mutex gate_;
  std::shared_ptr<WritableLayer> top_;
  std::shared_ptr<const Below> below_;

  mutable ShardedMutex index_mutex_;  // the two below
  MutableIndex written_;              // source = position in written_data_
  std::vector<std::shared_ptr<Blob>> written_data_;
};

}  // namespace obd
