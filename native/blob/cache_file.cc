#include "blob/cache_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>

#include "blob/local_blob.h"
#include "error.h"
#include "files/sha256.h"
#include "zfile/crc32c.h"
#include "zfile/scratch.h"

namespace obd {
namespace {

constexpr uint64_t kPage = 4096;
constexpr char kMagic[16] = "obd block cache";
constexpr uint64_t kVersion = 4;
constexpr uint64_t kPresent = uint64_t{1} << 63;  // low 32 bits: CRC-32C of the extent
constexpr uint32_t kCrcSeed = 0xffffffff;
constexpr size_t kMaxPadding = 8192;

struct Header {
  char magic[16];
  uint64_t version;
  uint64_t extent_size;
  uint64_t blob_size;
  char digest[128];
};

// In the header page, after the header.
constexpr uint64_t kOpeningAt = 1024, kDigestCheckedAt = 3072;
constexpr uint64_t kMaxOpeningPieces = 16;
constexpr uint64_t kMaxOpeningBytes = 64 << 20;
constexpr uint64_t kDigestChecked = 0x6b6f747365676964;

struct OpeningRecord {
  uint64_t count;
  struct {
    uint64_t offset, length, crc;
  } pieces[kMaxOpeningPieces];
  uint64_t crc;  // of what is before
};
static_assert(kOpeningAt >= sizeof(Header) && kDigestCheckedAt >= kOpeningAt + sizeof(OpeningRecord));

uint64_t record_crc(const OpeningRecord& record) {
  return kPresent | crc32c_raw(&record, offsetof(OpeningRecord, crc), kCrcSeed);
}

Header header_for(const std::string& digest, uint64_t size) {
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.extent_size = kExtentSize;
  header.blob_size = size;
  std::strncpy(header.digest, digest.c_str(), sizeof(header.digest) - 1);
  return header;
}

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

uint64_t entry_for(const void* data, size_t count) { return kPresent | crc32c_raw(data, count, kCrcSeed); }

uint64_t entry_offset(uint64_t extent) { return kPage + extent * sizeof(uint64_t); }

// With the little that lacks to 64 KiB, so that the kernel takes one piece of memory for all of it.
void write_slot(int fd, const void* data, size_t count, uint64_t offset, const std::string& path) {
  static const char zeros[kMaxPadding] = {};
  const size_t padding = count < kExtentSize && kExtentSize - count <= kMaxPadding ? kExtentSize - count : 0;
  const iovec parts[2] = {{const_cast<void*>(data), count}, {const_cast<char*>(zeros), padding}};
  ssize_t done;
  do {
    done = ::pwritev(fd, parts, 2, static_cast<off_t>(offset));
  } while (done < 0 && errno == EINTR);
  if (done < 0) throw_errno("write " + path + " at byte " + std::to_string(offset));
  if (static_cast<size_t>(done) >= count) return;
  pwrite_full(fd, static_cast<const char*>(data) + done, count - static_cast<size_t>(done), offset + static_cast<size_t>(done), path);
}

// For what may fail without harm: the next comparison of checksums finds out.
void try_write(int fd, const void* data, size_t count, uint64_t offset) noexcept {
  [[maybe_unused]] const ssize_t n = ::pwrite(fd, data, count, static_cast<off_t>(offset));
}

// "sha256:abc" is kept as "sha256-abc".
std::string file_name(std::string digest) {
  std::replace(digest.begin(), digest.end(), ':', '-');
  std::replace(digest.begin(), digest.end(), '/', '-');
  return digest;
}

}  // namespace

CacheFile::CacheFile(const std::string& dir, const std::string& digest, uint64_t size)
    : path_(dir + "/" + file_name(digest)),
      digest_(digest),
      size_(size),
      layout_(0, nullptr),
      pieces_start_(kPage + round_up(ExtentLayout::max_count(size) * sizeof(uint64_t), kPage)),
      data_start_(round_up(pieces_start_ + size, kExtentSize)) {
  set_layout(ExtentLayout(size, nullptr), 0);
  std::filesystem::create_directories(dir);
  for (int round = 0; round < 100; ++round) {
    if (open_existing()) return;
    create();
  }
  throw_errno("open " + path_, EBUSY);
}

void CacheFile::set_layout(ExtentLayout layout, uint64_t plain_size) {
  layout_ = std::move(layout);
  slot_ = round_up(std::max(layout_.longest(), kExtentSize), kExtentSize);
  sound_.reset(new std::atomic<bool>[layout_.count()]());
  plain_ = plain_size == 0 ? nullptr : std::make_unique<PlainCopy>(fd_.get(), round_up(position(layout_.count()), kPlainPiece), plain_size);
}

// False when there is none, or when it has gone away while it was opened. One of something else is removed.
bool CacheFile::open_existing() {
  fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd_ && errno == ENOENT) return false;
  if (!fd_) throw_errno("open " + path_);
  struct stat st;
  if (::flock(fd_.get(), LOCK_SH) != 0 || ::fstat(fd_.get(), &st) != 0) throw_errno("lock " + path_);
  if (st.st_nlink == 0) return false;
  if (matches_header()) {
    ::futimens(fd_.get(), nullptr);  // the last use is what eviction goes by
    return true;
  }
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) throw_errno("remove " + path_);
  return false;
}

// Puts an empty entry in place unless another process was faster. Whoever opens it before the header is
// there takes it for damaged and replaces it, which costs the other some bytes fetched twice and no more.
void CacheFile::create() {
  const UniqueFd fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) {
    if (errno == EEXIST) return;
    throw_errno("create " + path_);
  }
  const Header header = header_for(digest_, size_);
  pwrite_full(fd.get(), &header, sizeof(header), 0, path_);
}

bool CacheFile::matches_header() const {
  const Header expected = header_for(digest_, size_);
  Header found{};
  return pread_some(fd_.get(), &found, sizeof(found), 0) == sizeof(found) &&
         std::memcmp(&found, &expected, sizeof(found)) == 0;
}

CacheFile::State CacheFile::state(uint64_t extent) {
  if (extent >= layout_.count()) return State::absent;
  return sound_[extent].load(std::memory_order_acquire) ? State::sound : check_on_disk(extent);
}

CacheFile::State CacheFile::check_on_disk(uint64_t extent) {
  const uint64_t length = layout_.length(extent);
  uint64_t entry = 0;
  const std::optional<size_t> in_table = try_pread_some(fd_.get(), &entry, sizeof(entry), entry_offset(extent));
  if (!in_table) return State::on_disk;
  if (*in_table != sizeof(entry) || (entry & kPresent) == 0) return State::absent;
  thread_local Scratch scratch;
  char* const data = scratch.get(length);
  const std::optional<size_t> read = try_pread_some(fd_.get(), data, length, position(extent));
  if (!read) return State::on_disk;
  if (*read != length || entry_for(data, length) != entry) {
    forget(extent);
    return State::absent;
  }
  sound_[extent].store(true, std::memory_order_release);
  return State::sound;
}

CacheFile::State CacheFile::read(void* buf, size_t count, uint64_t offset) {
  auto* out = static_cast<char*>(buf);
  for (uint64_t extent = layout_.at(offset); count > 0; ++extent) {
    const uint64_t skip = offset - layout_.start(extent);
    const size_t part = static_cast<size_t>(std::min<uint64_t>(count, layout_.length(extent) - skip));
    const std::optional<size_t> read = try_pread_some(fd_.get(), out, part, position(extent) + skip);
    if (!read) return State::on_disk;
    if (*read != part) return State::absent;
    out += part;
    offset += part;
    count -= part;
  }
  return State::sound;
}

void CacheFile::store(uint64_t extent, const void* data) {
  const uint64_t length = layout_.length(extent);
  write_slot(fd_.get(), data, length, position(extent), path_);
  const uint64_t entry = entry_for(data, length);
  pwrite_full(fd_.get(), &entry, sizeof(entry), entry_offset(extent), path_);
  sound_[extent].store(true, std::memory_order_release);
}

void CacheFile::forget(uint64_t extent) noexcept {
  if (extent >= layout_.count()) return;
  sound_[extent].store(false, std::memory_order_release);
  const uint64_t absent = 0;
  try_write(fd_.get(), &absent, sizeof(absent), entry_offset(extent));
  try_write(fd_.get(), &absent, sizeof(absent), kDigestCheckedAt);
  complete_to_.store(0, std::memory_order_relaxed);
}

void CacheFile::forget_all() noexcept {
  for (uint64_t extent = 0; extent < layout_.count(); ++extent) forget(extent);
  if (plain_) plain_->forget();
  const OpeningRecord none{};
  try_write(fd_.get(), &none, sizeof(none), kOpeningAt);
}

// Locks of the open file description: they end with the process, and count between two openers in one, too.
bool CacheFile::lock_bytes(short type, uint64_t offset, uint64_t count) noexcept {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(offset);
  lock.l_len = static_cast<off_t>(count);
  // A file system without such locks costs bytes fetched twice, nothing else.
  return ::fcntl(fd_.get(), F_OFD_SETLK, &lock) == 0 || (errno != EAGAIN && errno != EACCES);
}

bool CacheFile::try_lock(uint64_t extent) { return lock_bytes(F_WRLCK, entry_offset(extent), sizeof(uint64_t)); }
void CacheFile::unlock(uint64_t extent) noexcept { lock_bytes(F_UNLCK, entry_offset(extent), sizeof(uint64_t)); }
bool CacheFile::try_lock_opening() { return lock_bytes(F_WRLCK, kOpeningAt, sizeof(uint64_t)); }
void CacheFile::unlock_opening() noexcept { lock_bytes(F_UNLCK, kOpeningAt, sizeof(uint64_t)); }

std::vector<BlobPiece> CacheFile::opening_pieces() {
  OpeningRecord record;
  if (pread_some(fd_.get(), &record, sizeof(record), kOpeningAt) != sizeof(record)) return {};
  if (record.crc != record_crc(record) || record.count > kMaxOpeningPieces) return {};
  std::vector<BlobPiece> pieces;
  for (uint64_t i = 0; i < record.count; ++i) {
    const auto& [offset, length, crc] = record.pieces[i];
    if (length > kMaxOpeningBytes || offset > size_ || length > size_ - offset) return {};
    BlobPiece piece{offset, std::string(length, '\0')};
    if (pread_some(fd_.get(), piece.bytes.data(), length, pieces_start_ + offset) != length || entry_for(piece.bytes.data(), length) != crc) return {};
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

void CacheFile::keep_opening_pieces(const std::vector<BlobPiece>& pieces) {
  OpeningRecord record{};
  if (pieces.size() > kMaxOpeningPieces) return;  // they are fetched again next time
  for (const BlobPiece& piece : pieces) {
    if (piece.bytes.size() > kMaxOpeningBytes) return;
    pwrite_full(fd_.get(), piece.bytes.data(), piece.bytes.size(), pieces_start_ + piece.offset, path_);
    record.pieces[record.count++] = {piece.offset, piece.bytes.size(), entry_for(piece.bytes.data(), piece.bytes.size())};
  }
  record.crc = record_crc(record);
  pwrite_full(fd_.get(), &record, sizeof(record), kOpeningAt, path_);
}

bool CacheFile::is_complete() {
  uint64_t extent = complete_to_.load(std::memory_order_relaxed);
  for (; extent < layout_.count(); ++extent) {
    uint64_t entry = 0;
    if (pread_some(fd_.get(), &entry, sizeof(entry), entry_offset(extent)) != sizeof(entry) || (entry & kPresent) == 0) break;
  }
  complete_to_.store(extent, std::memory_order_relaxed);
  if (extent < layout_.count()) return false;
  // What another process has left may be damaged.
  for (extent = 0; extent < layout_.count(); ++extent) {
    if (!has(extent)) return false;
  }
  return true;
}

std::string CacheFile::compute_digest() {
  files::Sha256 sum;
  std::vector<char> buf(slot_);
  for (uint64_t extent = 0; extent < layout_.count(); ++extent) {
    pread_full(fd_.get(), buf.data(), layout_.length(extent), position(extent), path_);
    sum.update(buf.data(), layout_.length(extent));
  }
  return files::digest_string(sum.finish());
}

bool CacheFile::is_digest_checked() const {
  uint64_t mark = 0;
  return pread_some(fd_.get(), &mark, sizeof(mark), kDigestCheckedAt) == sizeof(mark) && mark == kDigestChecked;
}

void CacheFile::set_digest_checked() { try_write(fd_.get(), &kDigestChecked, sizeof(kDigestChecked), kDigestCheckedAt); }

}  // namespace obd
