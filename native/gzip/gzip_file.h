// A gzip file read as the plain bytes it holds, at random places, with the help of an index.
//
// Gzip has one checksum, over everything. What is checked before bytes of a piece (from one index entry to
// the next) are given out: the piece decompresses to the size the index says, ends at the bit the index says,
// and its last 32 KiB are those the index has. Once every piece was seen, in whatever order, the gzip's own
// CRC-32 and size are compared too; from then on a file that fails this cannot be read any more.
#pragma once
#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "blob/blob.h"
#include "gzip/gzip_index.h"

namespace obd {

class GzipFile : public Blob {
 public:
  // Throws FormatError when `packed` has another size than the index says.
  GzipFile(std::shared_ptr<Blob> packed, GzipIndex index);
  ~GzipFile() override;
  GzipFile(const GzipFile&) = delete;
  GzipFile& operator=(const GzipFile&) = delete;

  uint64_t size() const override { return index_.plain_size(); }
  const std::string& name() const override { return packed_->name(); }
  // Decompresses whole pieces and keeps some of them (piece_cache.h), so that reads in order cost once.
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  const GzipIndex& index() const { return index_; }
  // The bytes of the gzip file that a piece takes: from here to index().packed_end().
  uint64_t packed_begin(size_t piece) const {
    const GzipEntry& entry = index_.entries()[piece];
    return entry.packed - (entry.bits > 0 ? 1 : 0);
  }

 private:
  using Piece = std::shared_ptr<const std::string>;
  // Null with misses when bytes of it are not local.
  Piece piece(size_t i, Misses& misses);
  // What is wrong with the packed bytes of piece `i`, empty after they were decompressed into `plain`.
  std::string inflate_piece(size_t i, const std::string& packed, std::string& plain);
  std::string check_end(size_t i, const std::string& plain) const;
  std::string check_whole(size_t i, const std::string& plain, const std::string& trailer);

  const std::shared_ptr<Blob> packed_;
  const GzipIndex index_;
  std::array<std::mutex, 16> inflating_;  // by piece: one thread decompresses it, others take its result

  std::mutex whole_mutex_;  // the rest
  std::vector<uint32_t> crcs_;
  std::vector<bool> seen_;
  size_t unseen_;
  std::string trailer_;  // CRC-32 and size at the end of the gzip member
  std::atomic<bool> damaged_{false};
};

}  // namespace obd
