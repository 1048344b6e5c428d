// A ZFile read as the plain bytes it holds (FORMATS.md 1): random access, every block checked.
#pragma once
#include <memory>

#include "blob/blob.h"
#include "error.h"
#include "zfile/jump_table.h"
#include "zfile/zfile_format.h"

namespace obd {

class BlockDecoder;

class ZFile : public Blob {
 public:
  // Reads header, trailer and index of `payload`. Returns false with misses when parts of these are not
  // local yet, or turned out damaged in a cache (call again after the fetch). Otherwise `file` is the opened ZFile, or null when the payload
  // does not begin with the ZFile magics. Throws FormatError for a damaged one.
  static bool try_open(const std::shared_ptr<Blob>& payload, std::shared_ptr<ZFile>& file, Misses& misses);

  // The same from the trailer alone, which a reader that began at the blob's end has: the header says nothing
  // that the trailer does not.
  static bool try_open_at(const std::shared_ptr<Blob>& payload, const ZFileHeader& trailer, std::shared_ptr<ZFile>& file,
                          Misses& misses);

  uint64_t size() const override { return header_.original_size; }
  const std::string& name() const override { return payload_->name(); }
  // What the payload keeps decompressed is copied. Otherwise decompresses whole blocks straight into `buf`; stored bytes
  // are read in pieces of up to 1 MiB, or where they are.
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;

  // The trailer's fields, or the completed header's.
  const ZFileHeader& header() const { return header_; }
  const std::shared_ptr<const JumpTable>& jump_table() const { return table_; }
  // The bytes the file is read from: the jump table's offsets count in it.
  const std::shared_ptr<Blob>& payload() const { return payload_; }

 private:
  ZFile(std::shared_ptr<Blob> payload, const ZFileHeader& header);
  static bool open_checked(const std::shared_ptr<Blob>& payload, const ZFileHeader& header, std::shared_ptr<ZFile>& file,
                           Misses& misses);
  bool try_load_index(Misses& misses);
  // What a read wants: the file's bytes from `begin` to `end`, at `out`.
  struct Wanted {
    char* out;
    uint64_t begin, end;
  };
  // Decompresses the blocks from `block` to `stop`, stored in `bytes`, where they are in memory. False when they are not,
  // or not sound.
  bool decode_lent(const BlockDecoder& decoder, uint64_t block, uint64_t stop, size_t bytes, const Wanted& wanted) const;
  // Gives what is wanted of a block. What is wrong with its stored bytes, or null.
  const char* decode_part(const BlockDecoder& decoder, const char* stored, uint64_t block, const Wanted& wanted) const;

  std::shared_ptr<Blob> payload_;
  ZFileHeader header_;
  unsigned block_shift_ = 0;
  std::shared_ptr<const JumpTable> table_;
};

}  // namespace obd
