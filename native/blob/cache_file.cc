#include "blob/cache_file.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "blob/local_blob.h"
#include "error.h"
#include "zfile/crc32c.h"

namespace obd {
namespace {

constexpr uint64_t kPage = 4096;
constexpr char kMagic[16] = "obd block cache";
constexpr uint64_t kVersion = 1;
constexpr uint64_t kPresent = uint64_t{1} << 63;  // low 32 bits: CRC-32C of the extent
constexpr uint32_t kCrcSeed = 0xffffffff;

struct Header {
  char magic[16];
  uint64_t version;
  uint64_t extent_size;
  uint64_t blob_size;
  char digest[128];
};

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

// As many bytes as there are, without an error at the end of the file.
size_t read_some(int fd, void* buf, size_t count, uint64_t offset) {
  size_t done = 0;
  while (done < count) {
    const ssize_t n = ::pread(fd, static_cast<char*>(buf) + done, count - done, static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  return done;
}

uint64_t entry_for(const void* data, size_t count) { return kPresent | crc32c_raw(data, count, kCrcSeed); }

uint64_t entry_offset(uint64_t extent) { return kPage + extent * sizeof(uint64_t); }

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
      extents_((size + kExtentSize - 1) / kExtentSize),
      data_start_(kPage + round_up(extents_ * sizeof(uint64_t), kPage)),
      sound_(new std::atomic<bool>[extents_]()) {
  for (int round = 0; round < 100; ++round) {
    fd_ = UniqueFd(::open(path_.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (fd_) {
      if (matches_header()) return;
      if (::unlink(path_.c_str()) != 0 && errno != ENOENT) throw_errno("remove " + path_);
    } else if (errno != ENOENT) {
      throw_errno("open " + path_);
    }
    create();
  }
  throw_errno("open " + path_, EBUSY);
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
  if (::ftruncate(fd.get(), static_cast<off_t>(data_start_ + size_)) != 0) throw_errno("truncate " + path_);
}

bool CacheFile::matches_header() const {
  const Header expected = header_for(digest_, size_);
  Header found{};
  return read_some(fd_.get(), &found, sizeof(found), 0) == sizeof(found) &&
         std::memcmp(&found, &expected, sizeof(found)) == 0;
}

uint64_t CacheFile::extent_length(uint64_t extent) const {
  return std::min(kExtentSize, size_ - extent * kExtentSize);
}

bool CacheFile::has(uint64_t extent) {
  if (extent >= extents_) return false;
  return sound_[extent].load(std::memory_order_acquire) || check_on_disk(extent);
}

bool CacheFile::check_on_disk(uint64_t extent) {
  uint64_t entry = 0;
  if (read_some(fd_.get(), &entry, sizeof(entry), entry_offset(extent)) != sizeof(entry)) return false;
  if ((entry & kPresent) == 0) return false;
  std::vector<char> data(extent_length(extent));
  const size_t count = read_some(fd_.get(), data.data(), data.size(), data_start_ + extent * kExtentSize);
  if (count != data.size() || entry_for(data.data(), data.size()) != entry) {
    forget(extent);
    return false;
  }
  sound_[extent].store(true, std::memory_order_release);
  return true;
}

uint64_t CacheFile::run_before(uint64_t extent, uint64_t limit) const {
  uint64_t run = 0;
  while (run < limit && run < extent && sound_[extent - run - 1].load(std::memory_order_relaxed)) ++run;
  return run;
}

bool CacheFile::read(void* buf, size_t count, uint64_t offset) {
  return read_some(fd_.get(), buf, count, data_start_ + offset) == count;
}

void CacheFile::store(uint64_t extent, const void* data) {
  const uint64_t length = extent_length(extent);
  pwrite_full(fd_.get(), data, length, data_start_ + extent * kExtentSize, path_);
  const uint64_t entry = entry_for(data, length);
  pwrite_full(fd_.get(), &entry, sizeof(entry), entry_offset(extent), path_);
  sound_[extent].store(true, std::memory_order_release);
}

void CacheFile::forget(uint64_t extent) noexcept {
  if (extent >= extents_) return;
  sound_[extent].store(false, std::memory_order_release);
  const uint64_t absent = 0;
  // A failure leaves the entry for the next checksum comparison to find.
  [[maybe_unused]] const ssize_t n = ::pwrite(fd_.get(), &absent, sizeof(absent), static_cast<off_t>(entry_offset(extent)));
}

}  // namespace obd
