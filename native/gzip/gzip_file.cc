#include "gzip/gzip_file.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "blob/local_blob.h"
#include "error.h"
#include "gzip/piece_cache.h"

namespace obd {
namespace {

constexpr size_t kTrailerSize = 8;  // CRC-32 and size of the plain bytes, 32 bits each

struct Inflater {
  Inflater() {
    if (::inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { ::inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
};

// How many bits of the last byte that was read belong to what follows.
unsigned bits_left(const z_stream& stream) { return static_cast<unsigned>(stream.data_type) & 7; }
bool at_block(const z_stream& stream) { return (stream.data_type & 128) != 0; }

uint32_t little_endian(const std::string& bytes, size_t at) {
  uint32_t value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

}  // namespace

GzipFile::GzipFile(std::shared_ptr<Blob> packed, GzipIndex index)
    : packed_(std::move(packed)),
      index_(std::move(index)),
      crcs_(index_.entries().size()),
      seen_(index_.entries().size()),
      unseen_(index_.entries().size()) {
  if (packed_->size() != index_.gzip_size()) {
    throw FormatError(packed_->name(), 0, "gzip: " + std::to_string(packed_->size()) + " bytes, but its index is for one of " +
                                              std::to_string(index_.gzip_size()));
  }
}

GzipFile::~GzipFile() { PieceCache::shared().forget(this); }

bool GzipFile::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name(), offset, count, size());
  if (damaged_) throw FormatError(name(), 0, "gzip: the content does not match its CRC-32");
  auto* out = static_cast<char*>(buf);
  const uint64_t end = offset + count;
  bool local = true;
  for (uint64_t at = offset; at < end;) {
    const size_t i = index_.find(at);
    const uint64_t stop = std::min(end, index_.plain_end(i));
    if (const Piece plain = piece(i, misses)) {
      std::memcpy(out + (at - offset), plain->data() + (at - index_.entries()[i].plain), stop - at);
    } else {
      local = false;
    }
    at = stop;
  }
  return local;
}

GzipFile::Piece GzipFile::piece(size_t i, Misses& misses) {
  PieceCache& cache = PieceCache::shared();
  if (Piece known = cache.find(this, i)) return known;
  const uint64_t begin = packed_begin(i);
  // Read before the lock is taken: reading may wait for a disk.
  std::string packed(index_.packed_end(i) - begin, '\0');
  if (!packed_->try_read(packed.data(), packed.size(), begin, misses)) return nullptr;

  const std::lock_guard lock(inflating_[i % inflating_.size()]);
  if (Piece known = cache.find(this, i)) return known;
  auto plain = std::make_shared<std::string>(index_.plain_end(i) - index_.entries()[i].plain, '\0');
  const std::string problem = inflate_piece(i, packed, *plain);
  if (!problem.empty()) {
    if (packed_->distrust(begin, packed.size(), misses)) return nullptr;
    throw FormatError(name(), begin, "gzip: " + problem);
  }
  cache.keep(this, i, plain);
  return plain;
}

std::string GzipFile::inflate_piece(size_t i, const std::string& packed, std::string& plain) {
  const GzipEntry& entry = index_.entries()[i];
  const bool is_last = i + 1 == index_.entries().size();
  Inflater inflater;
  z_stream& stream = inflater.stream;
  unsigned char window[kDeflateWindow];
  index_.read_window(i, window);
  size_t read = 0;
  if (entry.bits > 0) {
    ::inflatePrime(&stream, static_cast<int>(entry.bits), static_cast<unsigned char>(packed[0]) >> (8 - entry.bits));
    read = 1;
  }
  ::inflateSetDictionary(&stream, window, kDeflateWindow);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data() + read));
  stream.avail_in = static_cast<uInt>(packed.size() - read);
  stream.next_out = reinterpret_cast<Bytef*>(plain.data());
  stream.avail_out = static_cast<uInt>(plain.size());
  for (;;) {
    // Stops after every block: nothing of the next piece is looked at.
    const int result = ::inflate(&stream, Z_BLOCK);
    if (result == Z_STREAM_END) break;
    if (result == Z_BUF_ERROR) return "it decompresses to another size than the index says";
    if (result != Z_OK) return std::string("it does not decompress: ") + (stream.msg ? stream.msg : "damaged");
    const bool at_end = stream.avail_in == 0 && at_block(stream) && !is_last;
    if (at_end && stream.avail_out == 0 && bits_left(stream) == index_.entries()[i + 1].bits) break;
  }
  if (stream.avail_out != 0) return "it decompresses to fewer bytes than the index says";
  if (is_last) return check_whole(i, plain, packed.substr(packed.size() - stream.avail_in, kTrailerSize));
  if (stream.avail_in != 0) return "the stream ends before the index says";
  const std::string problem = check_end(i, plain);
  return problem.empty() ? check_whole(i, plain, "") : problem;
}

std::string GzipFile::check_end(size_t i, const std::string& plain) const {
  unsigned char window[kDeflateWindow];
  index_.read_window(i + 1, window);
  const size_t count = std::min(plain.size(), kDeflateWindow);
  const bool same = std::memcmp(plain.data() + plain.size() - count, window + kDeflateWindow - count, count) == 0;
  return same ? "" : "the content is not what the index was made of";
}

std::string GzipFile::check_whole(size_t i, const std::string& plain, const std::string& trailer) {
  const std::lock_guard lock(whole_mutex_);
  if (seen_[i]) return "";
  if (i + 1 == seen_.size()) {
    if (trailer.size() != kTrailerSize) return "its checksum is missing at the end";
    if (little_endian(trailer, 4) != static_cast<uint32_t>(size())) return "its size at the end is not that of the index";
    trailer_ = trailer;
  }
  crcs_[i] = static_cast<uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(plain.data()), plain.size()));
  seen_[i] = true;
  if (--unseen_ > 0) return "";
  uLong whole = 0;
  for (size_t p = 0; p < crcs_.size(); p++) {
    whole = ::crc32_combine(whole, crcs_[p], static_cast<z_off_t>(index_.plain_end(p) - index_.entries()[p].plain));
  }
  if (whole == little_endian(trailer_, 0)) return "";
  damaged_ = true;
  return "the content does not match its CRC-32";
}

}  // namespace obd
