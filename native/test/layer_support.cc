#include "layer_support.h"

#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>
#include <zstd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>

#include "blob/local_blob.h"
#include "error.h"
#include "files/sha256.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/writable_layer.h"
#include "system/unique_fd.h"

namespace obd::test {

TempDir::TempDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "obd-layers-XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw_errno("mkdtemp " + pattern);
  path_ = pattern;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string golden(const std::string& name) { return "../testdata/golden/" + name; }

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

bool leave_memory(const std::string& path, uint64_t from) {
  struct statfs fs;
  REQUIRE(::statfs(path.c_str(), &fs) == 0);
  if (fs.f_type == TMPFS_MAGIC) {
    MESSAGE("NOT TESTED: a tmpfs has all of its files in memory");
    return false;
  }
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  const size_t size = std::filesystem::file_size(path) - from;
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), static_cast<off_t>(from));
  REQUIRE(mapped != MAP_FAILED);
  std::vector<unsigned char> pages((size + 4095) / 4096);
  const auto is_there = [&] {
    REQUIRE(::mincore(mapped, size, pages.data()) == 0);
    return std::any_of(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  };
  // Pages that are being used this moment stay.
  for (int round = 0; round < 100 && is_there(); ++round) {
    REQUIRE(::fsync(fd.get()) == 0);
    REQUIRE(::posix_fadvise(fd.get(), static_cast<off_t>(from), 0, POSIX_FADV_DONTNEED) == 0);
  }
  ::munmap(mapped, size);
  return true;
}

void write_file(const std::string& path, const std::string& bytes) {
  ::unlink(path.c_str());  // ext4 writes a truncated and refilled file through to the disk
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!out) throw std::runtime_error("cannot write " + path);
}

std::string unzstd(const std::string& path) {
  const std::string packed = read_file(path);
  std::string plain(static_cast<size_t>(ZSTD_getFrameContentSize(packed.data(), packed.size())), '\0');
  const size_t n = ZSTD_decompress(plain.data(), plain.size(), packed.data(), packed.size());
  if (ZSTD_isError(n) || n != plain.size()) throw std::runtime_error("cannot unpack " + path);
  return plain;
}

std::string sha256(const std::string& bytes) {
  files::Sha256 sha;
  sha.update(bytes);
  return files::digest_string(sha.finish()).substr(7);
}

std::string sha256_file(const std::string& path) { return sha256(read_file(path)); }

std::string disk_sha256(BlockDevice& disk) {
  files::Sha256 sha;
  std::string buf(1 << 20, '\0');
  Misses misses;
  for (uint64_t at = 0; at < disk.size(); at += buf.size()) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(buf.size(), disk.size() - at));
    if (!disk.try_read(buf.data(), n, at, misses)) throw std::runtime_error("missing data");
    sha.update(buf.data(), n);
  }
  return files::digest_string(sha.finish()).substr(7);
}

std::vector<std::shared_ptr<Layer>> open_layers(const std::vector<std::string>& paths) {
  std::vector<std::shared_ptr<Layer>> layers;
  for (const auto& path : paths) layers.push_back(SealedLayer::open(std::make_shared<LocalBlob>(path)));
  return layers;
}

namespace {

// Unpacks a sparse layer's data: as files, holes do not survive in the repository. What was mapped is what
// the append-only layer with the same content maps.
void unpack_sparse(const TempDir& dir, const std::string& path) {
  const std::string plain = unzstd(golden("rw/rw-sparse.data.zst"));
  const std::string sealed = read_file(golden("rw/rw-append.sealed"));
  write_file(dir.file("mapped"), sealed);
  const auto mapped = SealedLayer::open(std::make_shared<LocalBlob>(dir.file("mapped")));
  write_file(path, plain.substr(0, 4096));
  if (::truncate(path.c_str(), static_cast<off_t>(plain.size())) != 0) throw_errno("truncate " + path);
  std::fstream out(path, std::ios::binary | std::ios::in | std::ios::out);
  for (const Segment& s : mapped->index()->segments()) {
    const uint64_t at = 4096 + s.offset * kSector;
    out.seekp(static_cast<std::streamoff>(at));
    out.write(plain.data() + at, static_cast<std::streamsize>(s.length * kSector));
  }
}

}  // namespace

std::shared_ptr<Layer> golden_writable(const TempDir& dir, const std::string& name) {
  const std::string data = dir.file(name + ".data"), index = dir.file(name + ".index");
  if (name == "pattern-append") {
    write_file(data, unzstd(golden("rw/pattern-append.data.zst")));
    write_file(index, read_file(golden("rw/pattern-append.index")));
  } else if (name == "rw-append") {
    const std::string sealed = read_file(golden("rw/rw-append.sealed"));
    write_file(data, sealed.substr(0, 395264));
    // Its index file is not in the repository: write one with the records of the sealed form.
    const auto layer = SealedLayer::open(std::make_shared<LocalBlob>(golden("rw/rw-append.sealed")));
    LsmtHeader h = layer->header();
    h.flags = LsmtHeader::kIsHeader;
    h.index_offset = kLsmtHeaderSize;
    std::string records(kLsmtHeaderSize, '\0');
    encode_lsmt_header(h, records.data());
    for (const Segment& s : layer->index()->segments()) {
      records.resize(records.size() + kLsmtRecordSize);
      encode_lsmt_record(s, records.data() + records.size() - kLsmtRecordSize);
    }
    write_file(index, records);
  } else {
    unpack_sparse(dir, data);
    write_file(index, "");
  }
  return WritableLayer::open_frozen(data, index);
}

bool MemoryBlob::try_read(void* buf, size_t count, uint64_t offset, Misses&) {
  check_inside(name_, offset, count, bytes_.size());
  if (count > 0) std::memcpy(buf, bytes_.data() + offset, count);
  return true;
}

bool MissingBlob::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_inside(name(), offset, count, size());
  bool local = true;
  for (uint64_t e = offset / extent_size_; count > 0 && e <= (offset + count - 1) / extent_size_; e++) {
    if (local_.count(e)) continue;
    misses.push_back({nullptr, e});
    local = false;
  }
  return local && inner_.try_read(buf, count, offset, misses);
}

bool MissingBlob::distrust(uint64_t offset, size_t count, Misses& misses) {
  for (uint64_t e = offset / extent_size_; e <= (offset + count - 1) / extent_size_; e++) {
    local_.erase(e);
    misses.push_back({nullptr, e});
  }
  return true;
}

void MissingBlob::fetch(const Misses& misses) {
  for (const Miss& m : misses) local_.insert(m.extent);
}

std::string some_bytes(Random& random, size_t count, bool text) {
  static const char* const words[] = {"layer ", "sealed ", "block ", "device ", "index ", "zero\n", "disk ", "of "};
  std::string out;
  out.reserve(count + 8);
  while (out.size() < count) {
    if (text) {
      out += words[random.below(8)];
    } else {
      const uint64_t word = random();
      out.append(reinterpret_cast<const char*>(&word), 8);
    }
  }
  out.resize(count);
  return out;
}

}  // namespace obd::test
