#include "lsmt/writable_layer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "blob/local_blob.h"
#include "error.h"

namespace obd {
namespace {

constexpr size_t kMaxPending = 4096;                    // records kept back before they are written, 64 KiB
// What a zeroed record points at: any sector inside the data file will do, the first always exists.
constexpr uint64_t kNowhere = kLsmtHeaderSize / kSector;
constexpr uint64_t kMaxWriteSectors = 4 * 1024 * 1024 / kSector;  // a record of the reference covers at most 4 MiB

uint64_t file_size(int fd, const std::string& path) {
  struct stat st;
  if (::fstat(fd, &st) != 0) throw_errno("stat " + path);
  return static_cast<uint64_t>(st.st_size);
}

void check_sectors(const std::string& name, uint64_t offset, uint64_t count, uint64_t size) {
  if (offset % kSector != 0 || count % kSector != 0) {
    throw FormatError(name, offset, std::to_string(count) + " bytes are not whole sectors");
  }
  if (size != 0) check_inside(name, offset, count, size);
}

}  // namespace

// The data file as a blob: what is below the tail never changes, so reads need no lock.
class WritableLayer::DataFile : public Blob {
 public:
  DataFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  ~DataFile() override { ::close(fd_); }
  uint64_t size() const override { return file_size(fd_, path_); }
  const std::string& name() const override { return path_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override {
    if (try_pread_full(fd_, buf, count, offset, path_)) return true;
    misses.push_back(Miss::on_disk());
    return false;
  }
  int fd() const { return fd_; }

 private:
  int fd_;
  std::string path_;
};

WritableLayer::WritableLayer(std::string data_path, std::string index_path)
    : data_path_(std::move(data_path)), index_path_(std::move(index_path)) {}

WritableLayer::~WritableLayer() {
  if (index_fd_ >= 0) ::close(index_fd_);
}

void WritableLayer::open_files(int flags) {
  const int data_fd = ::open(data_path_.c_str(), O_CLOEXEC | flags, 0644);
  if (data_fd < 0) throw_errno("open " + data_path_);
  data_ = std::make_shared<DataFile>(data_fd, data_path_);
  index_fd_ = ::open(index_path_.c_str(), O_CLOEXEC | flags, 0644);
  if (index_fd_ < 0) throw_errno("open " + index_path_);
}

void WritableLayer::write_headers() {
  char block[kLsmtHeaderSize];
  header_.flags = LsmtHeader::kIsHeader;
  header_.index_offset = kLsmtHeaderSize;
  encode_lsmt_header(header_, block);
  pwrite_full(index_fd_, block, sizeof block, 0, index_path_);
  header_.flags = LsmtHeader::kIsHeader | LsmtHeader::kDataFile;
  header_.index_offset = 0;
  encode_lsmt_header(header_, block);
  pwrite_full(data_->fd(), block, sizeof block, 0, data_path_);
}

std::shared_ptr<WritableLayer> WritableLayer::create(const std::string& data_path, const std::string& index_path,
                                                     uint64_t virtual_size, const std::string& uuid,
                                                     const std::string& parent_uuid) {
  std::shared_ptr<WritableLayer> layer(new WritableLayer(data_path, index_path));
  LsmtHeader& h = layer->header_;
  h.virtual_size = virtual_size;
  h.uuid = normalize_uuid(uuid);
  h.parent_uuid = normalize_uuid(parent_uuid);
  if (virtual_size % kSector != 0 || virtual_size / kSector >= Segment::kMaxOffset) {
    throw FormatError(data_path, 0, "impossible virtual size " + std::to_string(virtual_size));
  }
  try {
    layer->open_files(O_RDWR | O_CREAT | O_EXCL);
    layer->write_headers();
  } catch (...) {
    // A file that was there before is not ours.
    if (layer->data_) ::unlink(data_path.c_str());
    if (layer->index_fd_ >= 0) ::unlink(index_path.c_str());
    throw;
  }
  return layer;
}

std::shared_ptr<WritableLayer> WritableLayer::open(const std::string& data_path, const std::string& index_path) {
  std::shared_ptr<WritableLayer> layer(new WritableLayer(data_path, index_path));
  layer->open_files(O_RDWR);
  layer->load();
  if (layer->header_.has(LsmtHeader::kSparse)) {
    throw FormatError(data_path, 0, "lsmt: a sparse layer can be read and committed, but not written");
  }
  return layer;
}

std::shared_ptr<WritableLayer> WritableLayer::open_frozen(const std::string& data_path, const std::string& index_path) {
  std::shared_ptr<WritableLayer> layer(new WritableLayer(data_path, index_path));
  layer->open_files(O_RDONLY);
  layer->load();
  layer->frozen_ = true;
  return layer;
}

void WritableLayer::load() {
  const uint64_t size = file_size(data_->fd(), data_path_);
  char block[kLsmtHeaderSize];
  if (size < sizeof block) throw FormatError(data_path_, size, "lsmt: too short to have a header");
  pread_full(data_->fd(), block, sizeof block, 0, data_path_);
  if (!has_lsmt_magic(block)) throw FormatError(data_path_, 0, "not an overlaybd writable layer: no LSMT magic");
  header_ = decode_lsmt_header(block);
  if (!header_.has(LsmtHeader::kIsHeader) || !header_.has(LsmtHeader::kDataFile) || header_.has(LsmtHeader::kSealed)) {
    throw FormatError(data_path_, 0, "lsmt: the header's flags are not those of a writable layer's data file");
  }
  if (header_.virtual_size % kSector != 0 || header_.virtual_size / kSector >= Segment::kMaxOffset) {
    throw FormatError(data_path_, 0, "lsmt: impossible virtual size " + std::to_string(header_.virtual_size));
  }
  tail_ = (size + kSector - 1) / kSector * kSector;
  if (header_.has(LsmtHeader::kSparse)) {
    load_extents();
  } else {
    load_records();
  }
}

void WritableLayer::load_records() {
  const uint64_t size = file_size(index_fd_, index_path_);
  char block[kLsmtHeaderSize];
  if (size < sizeof block) throw FormatError(index_path_, size, "lsmt: too short to have a header");
  pread_full(index_fd_, block, sizeof block, 0, index_path_);
  if (!has_lsmt_magic(block)) throw FormatError(index_path_, 0, "not the index of an overlaybd writable layer: no LSMT magic");
  const LsmtHeader h = decode_lsmt_header(block);
  if (!h.has(LsmtHeader::kIsHeader) || h.has(LsmtHeader::kDataFile)) {
    throw FormatError(index_path_, 0, "lsmt: the header's flags are not those of an index file");
  }
  if (h.uuid != header_.uuid) {
    throw FormatError(index_path_, 0, "lsmt: belongs to layer " + h.uuid + ", the data file is " + header_.uuid);
  }
  const uint64_t records = (size - kLsmtHeaderSize) / kLsmtRecordSize;  // a torn last one does not count
  if (records > kLsmtMaxWritableRecords) {
    throw FormatError(index_path_, 0, "lsmt: " + std::to_string(records) + " records are too many");
  }
  const uint64_t first_data = kLsmtHeaderSize / kSector, data_end = file_size(data_->fd(), data_path_) / kSector;
  std::vector<char> raw(64 * 1024);
  for (uint64_t done = 0; done < records;) {
    const uint64_t n = std::min<uint64_t>(records - done, raw.size() / kLsmtRecordSize);
    const uint64_t at = kLsmtHeaderSize + done * kLsmtRecordSize;
    pread_full(index_fd_, raw.data(), static_cast<size_t>(n * kLsmtRecordSize), at, index_path_);
    for (uint64_t i = 0; i < n; i++) {
      const LsmtRecord r = decode_lsmt_record(raw.data() + i * kLsmtRecordSize);
      if (r.is_padding() || r.length == 0) continue;
      auto fail = [&](const std::string& what) {
        throw FormatError(index_path_, at + i * kLsmtRecordSize, "lsmt: record " + std::to_string(done + i) + " " + what);
      };
      if (r.offset + r.length > Segment::kMaxOffset) fail("lies beyond any disk");
      if (r.moffset < first_data || r.moffset > data_end || (!r.zeroed && r.length > data_end - r.moffset)) {
        fail("points outside the data file, to sector " + std::to_string(r.moffset));
      }
      Segment s{};
      s.offset = r.offset;
      s.length = r.length;
      s.moffset = r.moffset;
      s.zeroed = r.zeroed;
      map_.insert(s, false);  // records keep their boundaries, as in the reference
    }
    done += n;
  }
  index_tail_ = kLsmtHeaderSize + records * kLsmtRecordSize;
}

// A sparse layer has no records: what the host file system stores is what the layer maps.
void WritableLayer::load_extents() {
  const int fd = data_->fd();
  off_t at = kLsmtHeaderSize;
  const off_t end = static_cast<off_t>(std::min<uint64_t>(file_size(fd, data_path_), kLsmtHeaderSize + header_.virtual_size));
  while (at < end) {
    off_t from = ::lseek(fd, at, SEEK_DATA);
    if (from < 0 && errno == ENXIO) break;
    if (from < 0) throw_errno("seek in " + data_path_);
    off_t to = ::lseek(fd, from, SEEK_HOLE);
    if (to < 0) throw_errno("seek in " + data_path_);
    from = std::max(from, at);
    to = std::min(to, end);
    uint64_t sector = static_cast<uint64_t>(from) / kSector;
    const uint64_t last = static_cast<uint64_t>(to) / kSector;
    while (sector < last) {
      Segment s{};
      s.offset = sector - kLsmtHeaderSize / kSector;
      s.length = std::min(Segment::kMaxJoined, last - sector);
      s.moffset = sector;
      map_.insert(s, false);
      sector += s.length;
    }
    at = to;
  }
}

std::shared_ptr<Blob> WritableLayer::data() const { return data_; }

std::shared_ptr<const FrozenIndex> WritableLayer::index() const {
  if (!frozen_) throw std::logic_error(data_path_ + ": the index of a layer that is still written was asked for");
  std::unique_lock lock(mutex_);
  if (!frozen_index_) {
    frozen_index_ = std::make_shared<FrozenIndex>(map_.segments());
    map_ = MutableIndex();
  }
  return frozen_index_;
}

void WritableLayer::check_writable() const {
  if (frozen_) throw_errno("write " + data_path_ + ": the layer is frozen", EROFS);
}

void WritableLayer::write(const void* buf, size_t count, uint64_t offset) {
  check_sectors(data_path_, offset, count, header_.virtual_size);
  if (count == 0) return;
  map(offset / kSector, count / kSector, append(buf, count), false);
}

void WritableLayer::discard(uint64_t offset, uint64_t count) {
  check_sectors(data_path_, offset, count, header_.virtual_size);
  map(offset / kSector, count / kSector, 0, true);
}

uint64_t WritableLayer::append(const void* buf, size_t count) {
  check_writable();
  const uint64_t at = tail_.fetch_add(count);
  pwrite_full(data_->fd(), buf, count, at, data_path_);
  return at / kSector;
}

void WritableLayer::map(uint64_t sector, uint64_t sectors, uint64_t moffset, bool zeroed,
                        const std::function<void(const Segment&)>& mapped) {
  std::unique_lock lock(mutex_);
  check_writable();
  while (sectors > 0) {
    Segment s{};
    s.offset = sector;
    s.length = std::min(sectors, zeroed ? Segment::kMaxLength : kMaxWriteSectors);
    s.moffset = zeroed ? kNowhere : moffset;
    s.zeroed = zeroed;
    map_.insert(s, true);
    if (mapped) mapped(s);
    add_pending(s);
    sector += s.length;
    sectors -= s.length;
    if (!zeroed) moffset += s.length;
  }
}

void WritableLayer::add_pending(const Segment& s) {
  if (!pending_.empty()) {
    Segment& last = pending_.back();
    if (!s.zeroed && !last.zeroed && last.end() == s.offset && last.mend() == s.moffset &&
        s.end() - last.begin() <= Segment::kMaxJoined) {
      last.length = last.length + s.length;
      return;
    }
  }
  pending_.push_back(s);
  if (pending_.size() >= kMaxPending) flush_locked();
}

void WritableLayer::flush_locked() {
  if (pending_.empty()) return;
  std::vector<char> raw(pending_.size() * kLsmtRecordSize);
  for (size_t i = 0; i < pending_.size(); i++) encode_lsmt_record(pending_[i], raw.data() + i * kLsmtRecordSize);
  pwrite_full(index_fd_, raw.data(), raw.size(), index_tail_, index_path_);
  index_tail_ += raw.size();
  pending_.clear();
}

void WritableLayer::flush() {
  std::unique_lock lock(mutex_);
  flush_locked();
}

void WritableLayer::freeze() {
  std::unique_lock lock(mutex_);
  flush_locked();
  frozen_ = true;
}

void WritableLayer::for_each(uint64_t begin, uint64_t end, const std::function<void(const Segment&)>& visit) const {
  std::shared_lock lock(mutex_);
  if (frozen_index_) {
    frozen_index_->for_each(begin, end, visit);
  } else {
    map_.for_each(begin, end, visit);
  }
}

size_t WritableLayer::segments() const {
  std::shared_lock lock(mutex_);
  return frozen_index_ ? frozen_index_->size() : map_.size();
}

uint64_t WritableLayer::records() const {
  std::shared_lock lock(mutex_);
  return (index_tail_ - kLsmtHeaderSize) / kLsmtRecordSize;
}

size_t WritableLayer::index_memory() const {
  std::shared_lock lock(mutex_);
  return map_.memory() + pending_.capacity() * sizeof(Segment) + (frozen_index_ ? frozen_index_->memory() : 0);
}

}  // namespace obd
