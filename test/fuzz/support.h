// What the fuzz targets share: a blob in memory, and checksums made right so that inputs get past them.
#pragma once
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "blob/blob.h"
#include "blob/local_blob.h"
#include "error.h"
#include "zfile/crc32c.h"
#include "zfile/zfile_format.h"

namespace obd::fuzz {

class MemoryBlob : public Blob {
 public:
  explicit MemoryBlob(std::string bytes) : bytes_(std::move(bytes)) {}
  uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses&) override {
    check_inside(name_, offset, count, bytes_.size());
    if (count > 0) std::memcpy(buf, bytes_.data() + offset, count);
    return true;
  }

 private:
  std::string bytes_, name_ = "fuzz";
};

inline void repair_digest(char* block) {
  uint32_t digest = 0;
  std::memcpy(block + 28, &digest, 4);
  digest = crc32c_raw(block, kZFileHeaderSize, 0);
  std::memcpy(block + 28, &digest, 4);
}

// Makes the checksums of a ZFile from `start` to the end of `bytes` right, so that its fields are believed.
inline void repair_zfile(std::string& bytes, size_t start, size_t end) {
  if (end < start + 2 * kZFileHeaderSize || !has_zfile_magic(bytes.data() + start)) return;
  for (const size_t at : {start, end - kZFileHeaderSize}) {
    char* const block = bytes.data() + at;
    if (!has_zfile_magic(block)) continue;
    bool ok;
    const ZFileHeader h = decode_zfile_header(block, ok);
    const size_t size = end - start;
    if (h.index_offset < size && h.block_count < size / 4 && h.index_offset + h.block_count * 4 <= size) {
      const uint32_t crc = crc32c_raw(bytes.data() + start + h.index_offset, h.block_count * 4, 0);
      std::memcpy(block + 64, &crc, 4);
      uint64_t offset = h.index_offset >= kZFileHeaderSize ? kZFileHeaderSize + uint64_t{h.dict_size} : size;
      for (uint64_t i = 0; h.verify != 0 && i < h.block_count && offset < size; ++i) {
        uint32_t length;
        std::memcpy(&length, bytes.data() + start + h.index_offset + i * 4, 4);
        if (length < 4 || length > size - offset) break;
        const uint32_t block_crc = crc32c_raw(bytes.data() + start + offset, length - 4, kZFileBlockCrcSeed);
        std::memcpy(bytes.data() + start + offset + length - 4, &block_crc, 4);
        offset += length;
      }
    }
    repair_digest(block);
  }
}

// Reads what a reader would, as much of it as is worth the time.
inline void read_through(Blob& blob) {
  constexpr uint64_t kEnough = 4 << 20;
  std::string buf(100000, '\0');
  for (uint64_t at = 0; at < blob.size() && at < kEnough; at += buf.size()) {
    Misses misses;
    blob.try_read(buf.data(), static_cast<size_t>(std::min<uint64_t>(buf.size(), blob.size() - at)), at, misses);
  }
}

}  // namespace obd::fuzz
