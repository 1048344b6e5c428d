// What the layer tests share: a temporary directory, golden files, whole-file helpers.
#pragma once
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "blob/fetch_manager.h"
#include "blob/blob.h"
#include "device/block_device.h"
#include "lsmt/layer.h"

namespace obd::test {

// Answers a request, all at once.
inline void answer_fetch(FetchManager& fetches, uint64_t id, const std::string& data) {
  fetches.receive(id, data.data(), data.size());
  fetches.complete(id);
}

// A directory of its own, removed with everything in it.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string golden(const std::string& name);  // path of a file in testdata/golden
std::string read_file(const std::string& path);
// Has a file leave memory from byte `from` on, a multiple of 4 KiB, as far as nobody uses it. False where files are never
// anywhere else, which is told.
bool leave_memory(const std::string& path, uint64_t from = 0);
void write_file(const std::string& path, const std::string& bytes);
std::string unzstd(const std::string& path);
std::string sha256(const std::string& bytes);       // hex
std::string sha256_file(const std::string& path);   // hex
std::string disk_sha256(BlockDevice& disk);         // hex, of every byte
// Sealed blobs bottom first.
std::vector<std::shared_ptr<Layer>> open_layers(const std::vector<std::string>& paths);
// The layer described by a golden writable pair, unpacked into `dir`: "pattern-append", "rw-append", "rw-sparse".
std::shared_ptr<Layer> golden_writable(const TempDir& dir, const std::string& name);

// Bytes in memory.
class MemoryBlob : public Blob {
 public:
  explicit MemoryBlob(std::string bytes, std::string name = "memory") : bytes_(std::move(bytes)), name_(std::move(name)) {}
  uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  std::string& bytes() { return bytes_; }

 private:
  std::string bytes_, name_;
};

// A blob of which nothing is local at first. Reads miss by extents of `extent_size` until these are fetched.
class MissingBlob : public Blob {
 public:
  MissingBlob(std::string bytes, size_t extent_size) : inner_(std::move(bytes)), extent_size_(extent_size) {}
  uint64_t size() const override { return inner_.size(); }
  const std::string& name() const override { return inner_.name(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  bool distrust(uint64_t offset, size_t count, Misses& misses) override;
  void fetch(const Misses& misses);
  std::string& bytes() { return inner_.bytes(); }
  size_t fetched() const { return local_.size(); }

 private:
  MemoryBlob inner_;
  size_t extent_size_;
  std::set<uint64_t> local_;
};

// xorshift: the same numbers in every run.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}
  uint64_t operator()() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  uint64_t below(uint64_t limit) { return (*this)() % limit; }

 private:
  uint64_t state_;
};

// `count` bytes: compressible when `text`, random otherwise.
std::string some_bytes(Random& random, size_t count, bool text);

}  // namespace obd::test
