#include "zfile/zfile.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "blob/local_blob.h"
#include "zfile/block.h"
#include "zfile/codec.h"
#include "zfile/crc32c.h"
#include "zfile/scratch.h"

namespace obd {
namespace {

constexpr size_t kMaxRead = 1 << 20;     // stored bytes read at once
constexpr size_t kSmallestLent = 16 << 10;  // to ask for less costs what copying it costs
constexpr size_t kIndexRead = 256 * 1024;  // index bytes read at once
constexpr uint64_t kMaxBlocks = 1000000000;

// The checks a reader makes before it believes any other field.
void check_header(const ZFileHeader& h, const std::string& name, uint64_t at, uint64_t index_limit) {
  auto fail = [&](const std::string& what) { throw FormatError(name, at, "zfile: " + what); };
  if (h.algorithm != static_cast<uint8_t>(ZFileAlgorithm::lz4) &&
      h.algorithm != static_cast<uint8_t>(ZFileAlgorithm::zstd)) {
    fail("unknown compression algorithm " + std::to_string(h.algorithm) + ", 1 (lz4) or 2 (zstd) expected");
  }
  if (h.use_dict != 0) fail("dictionary compression is not supported");
  if (h.block_size < kZFileMinBlockSize || h.block_size > kZFileMaxBlockSize || (h.block_size & (h.block_size - 1))) {
    fail("block size " + std::to_string(h.block_size) + " is not a power of two from 512 to 65536");
  }
  if (h.block_count > kMaxBlocks) fail("absurd number of blocks, " + std::to_string(h.block_count));
  if (h.index_offset < kZFileHeaderSize + uint64_t{h.dict_size} || h.index_offset > index_limit ||
      h.block_count * 4 > index_limit - h.index_offset) {
    fail("the index (offset " + std::to_string(h.index_offset) + ", " + std::to_string(h.block_count) +
         " entries) lies outside the file: it is truncated or damaged");
  }
  if (h.original_size / h.block_size + (h.original_size % h.block_size != 0) != h.block_count) {
    fail(std::to_string(h.block_count) + " blocks of " + std::to_string(h.block_size) + " bytes cannot hold " +
         std::to_string(h.original_size) + " bytes");
  }
}

// A cached copy of remote bytes may be what is damaged: then it is a miss (false). Otherwise there is no
// remedy, and this throws.
bool distrust_or_throw(Blob& payload, uint64_t offset, uint64_t count, const std::string& problem, Misses& misses) {
  if (payload.distrust(offset, static_cast<size_t>(count), misses)) return false;
  throw FormatError(payload.name(), offset, "zfile: " + problem);
}

}  // namespace

ZFile::ZFile(std::shared_ptr<Blob> payload, const ZFileHeader& header)
    : payload_(std::move(payload)), header_(header) {
  while ((uint32_t{1} << block_shift_) < header.block_size) block_shift_++;
}

bool ZFile::try_open(const std::shared_ptr<Blob>& payload, std::shared_ptr<ZFile>& file, Misses& misses) {
  file.reset();
  const uint64_t size = payload->size();
  if (size < kZFileHeaderSize) return true;
  char block[kZFileHeaderSize];
  if (!payload->try_read(block, sizeof block, 0, misses)) return false;
  if (!has_zfile_magic(block)) return true;
  bool digest_ok;
  ZFileHeader h = decode_zfile_header(block, digest_ok);
  if (!h.has(ZFileHeader::kIsHeader)) return true;
  if (!digest_ok) return distrust_or_throw(*payload, 0, sizeof block, "the header does not match its checksum", misses);

  if (size < 2 * kZFileHeaderSize) throw FormatError(payload->name(), size, "zfile: too short to have a trailer");
  const uint64_t trailer_offset = size - kZFileHeaderSize;
  if (h.has(ZFileHeader::kCompleted)) {
    check_header(h, payload->name(), 0, trailer_offset);
  } else {
    if (!payload->try_read(block, sizeof block, trailer_offset, misses)) return false;
    if (!has_zfile_magic(block)) {
      throw FormatError(payload->name(), trailer_offset, "zfile: no trailer here: the file is truncated or unfinished");
    }
    h = decode_zfile_header(block, digest_ok);
    if (h.has(ZFileHeader::kIsHeader) || !h.has(ZFileHeader::kDataFile) || !h.has(ZFileHeader::kSealed)) {
      throw FormatError(payload->name(), trailer_offset, "zfile: the trailer's flags are not those of a trailer");
    }
    if (!digest_ok) {
      return distrust_or_throw(*payload, trailer_offset, sizeof block, "the trailer does not match its checksum", misses);
    }
    check_header(h, payload->name(), trailer_offset, trailer_offset);
  }
  return open_checked(payload, h, file, misses);
}

bool ZFile::try_open_at(const std::shared_ptr<Blob>& payload, const ZFileHeader& trailer, std::shared_ptr<ZFile>& file,
                        Misses& misses) {
  const uint64_t trailer_offset = payload->size() - kZFileHeaderSize;
  check_header(trailer, payload->name(), trailer_offset, trailer_offset);
  return open_checked(payload, trailer, file, misses);
}

bool ZFile::open_checked(const std::shared_ptr<Blob>& payload, const ZFileHeader& header, std::shared_ptr<ZFile>& file,
                         Misses& misses) {
  std::shared_ptr<ZFile> opened(new ZFile(payload, header));
  if (!opened->try_load_index(misses)) return false;
  file = std::move(opened);
  return true;
}

bool ZFile::try_load_index(Misses& misses) {
  const uint32_t crc_bytes = header_.verify ? 4 : 0;
  const size_t longest =
      compress_bound(static_cast<ZFileAlgorithm>(header_.algorithm), header_.block_size) + crc_bytes;
  const uint64_t end = header_.index_offset + header_.block_count * 4;
  thread_local Scratch scratch;
  char* buf = scratch.get(kIndexRead);
  const auto table = std::make_shared<JumpTable>(kZFileHeaderSize + uint64_t{header_.dict_size}, header_.block_size);
  uint32_t crc = 0;
  bool local = true;
  for (uint64_t at = header_.index_offset; at < end;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kIndexRead, end - at));
    if (!payload_->try_read(buf, n, at, misses)) local = false;
    if (local) {
      crc = crc32c_raw(buf, n, crc);
      for (size_t i = 0; i < n; i += 4) {
        uint32_t length;
        std::memcpy(&length, buf + i, 4);
        if (length <= crc_bytes || length > longest) {
          return distrust_or_throw(*payload_, at + i, sizeof length,
                                   "block " + std::to_string(table->blocks()) + " cannot be " + std::to_string(length) +
                                       " bytes long",
                                   misses);
        }
        table->append(length);
      }
    }
    at += n;
  }
  if (!local) return false;
  const char* problem = nullptr;
  if (table->offset(table->blocks()) > header_.index_offset) problem = "the blocks reach into the index";
  if (header_.has(ZFileHeader::kDigest) && crc != header_.index_crc) problem = "the index does not match its checksum";
  if (problem) return distrust_or_throw(*payload_, header_.index_offset, end - header_.index_offset, problem, misses);
  table->shrink_to_fit();
  table_ = table;
  return true;
}

const char* ZFile::decode_part(const BlockDecoder& decoder, const char* stored, uint64_t block, const Wanted& wanted) const {
  const uint64_t plain = block << block_shift_;
  const size_t length = plain_length(header_, block);
  const uint64_t from = std::max(wanted.begin, plain), to = std::min(wanted.end, plain + length);
  char* const dst = wanted.out + (from - wanted.begin);
  if (to - from == length) return decoder.decode(block, stored, dst);
  thread_local Scratch scratch;
  char* const whole = scratch.get(header_.block_size);
  const char* const problem = decoder.decode(block, stored, whole);
  if (!problem) std::memcpy(dst, whole + (from - plain), static_cast<size_t>(to - from));
  return problem;
}

bool ZFile::decode_lent(const BlockDecoder& decoder, uint64_t block, uint64_t stop, size_t bytes, const Wanted& wanted) const {
  if (bytes < kSmallestLent) return false;
  const uint64_t start = table_->offset(block);
  const LentBytes lent = payload_->lend(start, bytes);
  if (!lent.data()) return false;
  for (; block < stop; block++) {
    if (decode_part(decoder, lent.data() + (table_->offset(block) - start), block, wanted)) return false;
  }
  return lent.intact();
}

bool ZFile::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name(), offset, count, size());
  if (count == 0 || payload_->try_read_plain(buf, count, offset)) return true;
  thread_local Scratch scratch;
  const Wanted wanted{static_cast<char*>(buf), offset, offset + count};
  const uint64_t last = (wanted.end - 1) >> block_shift_;
  const BlockDecoder decoder(header_, *table_);
  bool local = true;
  for (uint64_t block = offset >> block_shift_; block <= last;) {
    const uint64_t start = table_->offset(block);
    uint64_t stop = block + 1;
    uint64_t stop_offset = table_->offset(stop);
    while (stop <= last && table_->offset(stop + 1) - start <= kMaxRead) stop_offset = table_->offset(++stop);
    const size_t bytes = static_cast<size_t>(stop_offset - start);
    if (!decode_lent(decoder, block, stop, bytes, wanted)) {
      char* const stored = scratch.get(bytes);
      if (!payload_->try_read(stored, bytes, start, misses)) local = false;
      for (; local && block < stop; block++) {
        const uint64_t at = table_->offset(block);
        const char* problem = decode_part(decoder, stored + (at - start), block, wanted);
        if (problem) {
          local = distrust_or_throw(*payload_, at, table_->offset(block + 1) - at,
                                    "block " + std::to_string(block) + " " + problem, misses);
        }
      }
    }
    block = stop;
  }
  return local;
}

}  // namespace obd
