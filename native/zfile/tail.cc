#include "zfile/tail.h"

#include "blob/tar_entry.h"

namespace obd {
namespace {

// Of a tar that holds a ZFile: one header, or the three blocks of a pax header.
bool is_payload_offset(uint64_t offset) { return offset == 0 || offset == 512 || offset == kTarWrapHead; }

}  // namespace

std::optional<ZFileAtTail> find_zfile_at_tail(const char* tail, size_t count, uint64_t blob_size) {
  if (count < kZFileHeaderSize) return std::nullopt;
  // What follows the trailer holds no magic: the last one is its.
  for (size_t at = count - kZFileHeaderSize + 1; at-- > 0;) {
    if (!has_zfile_magic(tail + at)) continue;
    ZFileAtTail found;
    bool digest_ok;
    found.trailer = decode_zfile_header(tail + at, digest_ok);
    const ZFileHeader& t = found.trailer;
    if (t.has(ZFileHeader::kIsHeader) || !t.has(ZFileHeader::kDataFile) || !t.has(ZFileHeader::kSealed)) return std::nullopt;
    if (!t.has(ZFileHeader::kDigest) || !digest_ok) return std::nullopt;
    const uint64_t trailer_at = blob_size - count + at;
    if (t.block_count > blob_size / 4 || t.index_offset > blob_size) return std::nullopt;
    const uint64_t before = t.index_offset + t.block_count * 4;
    if (before > trailer_at || !is_payload_offset(trailer_at - before)) return std::nullopt;
    found.offset = trailer_at - before;
    found.size = before + kZFileHeaderSize;
    if (found.offset == 0 && found.size != blob_size) return std::nullopt;
    return found;
  }
  return std::nullopt;
}

}  // namespace obd
