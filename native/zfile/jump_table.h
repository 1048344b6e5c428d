// Where each compressed block of a ZFile starts, in about 2.5 bytes a block: a 64-bit base for every 16
// blocks and 16-bit distances from it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace obd {

class JumpTable {
 public:
  // `first` is the offset of block 0; `block_size` the uncompressed size of a block, which decides how
  // many blocks share a base.
  JumpTable(uint64_t first, uint32_t block_size);
  // Adds the next block of `length` stored bytes. The caller has checked that `length` is one a codec
  // can produce for this block size, so that distances fit 16 bits.
  void append(uint32_t length);
  void shrink_to_fit();

  uint64_t blocks() const { return blocks_; }
  // Offset of block `i`; i == blocks() gives the end of the last one.
  uint64_t offset(uint64_t i) const {
    if (i == blocks_) return end_;
    const uint64_t group = i >> shift_, within = i & mask_;
    return bases_[group] + (within == 0 ? 0 : deltas_[group * mask_ + within - 1]);
  }
  size_t memory() const { return bases_.capacity() * sizeof(uint64_t) + deltas_.capacity() * sizeof(uint16_t); }

 private:
  unsigned shift_;
  uint64_t mask_;
  uint64_t end_;
  uint64_t blocks_ = 0;
  std::vector<uint64_t> bases_;
  std::vector<uint16_t> deltas_;
};

}  // namespace obd
