#include "zfile/zfile_writer.h"

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "blob/local_blob.h"
#include "error.h"
#include "zfile/codec.h"
#include "zfile/crc32c.h"
#include "zfile/stored_blocks.h"

namespace obd {
namespace {

// A batch of blocks is small enough for input and output to stay in a core's cache, and large enough that
// handing it over costs nothing against compressing it.
constexpr size_t kBatchBytes = 256 * 1024;
constexpr size_t kWindowPerThread = 3;  // batches a thread may be ahead of the slowest

using Buffer = std::unique_ptr<char[]>;

// Compresses a source and writes its blocks from file offset `at` on.
class BatchCompressor {
 public:
  BatchCompressor(ByteSource& source, const ZFileOptions& options, int fd, uint64_t at, const std::string& name)
      : source_(source),
        options_(options),
        fd_(fd),
        name_(name),
        write_at_(at),
        blocks_((source.size() + options.block_size - 1) / options.block_size),
        lengths_(blocks_),
        batch_blocks_(kBatchBytes / options.block_size),
        batches_((blocks_ + batch_blocks_ - 1) / batch_blocks_),
        worst_block_(compress_bound(options.algorithm, options.block_size) + 4),
        slots_(std::min<uint64_t>(batches_, uint64_t{options.threads} * kWindowPerThread)) {}

  // Compresses and writes all blocks; returns the file offset after the last one.
  uint64_t run() {
    const unsigned helpers = static_cast<unsigned>(std::min<uint64_t>(options_.threads, std::max<uint64_t>(batches_, 1))) - 1;
    std::vector<std::thread> threads;
    try {
      for (unsigned i = 0; i < helpers; i++) threads.emplace_back([this] { work(); });
    } catch (...) {
      fail();
    }
    work();
    for (auto& t : threads) t.join();
    if (error_) std::rethrow_exception(error_);
    return write_at_;
  }

  const std::vector<uint32_t>& lengths() const { return lengths_; }

 private:
  struct Slot {
    Buffer data;
    size_t bytes = 0;
    bool done = false;
  };
  struct Ready {
    Buffer data;
    size_t bytes;
    uint64_t offset;
  };

  void work() {
    try {
      Buffer plain(new char[kBatchBytes]);
      const std::unique_ptr<Codec> codec = Codec::create(options_.algorithm);
      std::vector<Ready> ready;
      for (;;) {
        Buffer out;
        uint64_t batch;
        {
          std::unique_lock lock(mutex_);
          may_start_.wait(lock, [&] { return error_ || next_ == batches_ || next_ < head_ + slots_.size(); });
          if (error_ || next_ == batches_) return;
          batch = next_++;
          if (!spare_.empty()) {
            out = std::move(spare_.back());
            spare_.pop_back();
          }
        }
        if (!out) out.reset(new char[batch_blocks_ * worst_block_]);
        const size_t bytes = compress(batch, plain.get(), out.get(), *codec);
        ready.clear();
        hand_over(batch, std::move(out), bytes, ready);
        for (Ready& r : ready) pwrite_full(fd_, r.data.get(), r.bytes, r.offset, name_);
        if (!ready.empty()) {
          std::unique_lock lock(mutex_);
          for (Ready& r : ready) spare_.push_back(std::move(r.data));
        }
      }
    } catch (...) {
      fail();
    }
  }

  size_t compress(uint64_t batch, char* plain, char* out, Codec& codec) {
    const uint64_t from = batch * batch_blocks_ * options_.block_size;
    const size_t count = static_cast<size_t>(std::min<uint64_t>(batch_blocks_ * options_.block_size, source_.size() - from));
    source_.read(plain, count, from);
    size_t bytes = 0;
    uint64_t block = batch * batch_blocks_;
    for (size_t at = 0; at < count; at += options_.block_size, block++) {
      const size_t n = std::min<size_t>(options_.block_size, count - at);
      const size_t stored = codec.compress(plain + at, n, out + bytes, worst_block_ - 4);
      const uint32_t crc = crc32c_raw(out + bytes, stored, kZFileBlockCrcSeed);
      std::memcpy(out + bytes + stored, &crc, sizeof crc);
      lengths_[block] = static_cast<uint32_t>(stored + sizeof crc);
      bytes += stored + sizeof crc;
    }
    return bytes;
  }

  // A batch's place in the file is known once all before it are compressed. Whoever completes that gives
  // places to it and to those that waited for it, and writes them without the lock.
  void hand_over(uint64_t batch, Buffer data, size_t bytes, std::vector<Ready>& ready) {
    std::unique_lock lock(mutex_);
    Slot& own = slots_[batch % slots_.size()];
    own.data = std::move(data);
    own.bytes = bytes;
    own.done = true;
    const uint64_t before = head_;
    while (head_ < batches_ && slots_[head_ % slots_.size()].done) {
      Slot& s = slots_[head_ % slots_.size()];
      ready.push_back({std::move(s.data), s.bytes, write_at_});
      write_at_ += s.bytes;
      s.done = false;
      head_++;
    }
    if (head_ != before) may_start_.notify_all();
  }

  void fail() {
    std::unique_lock lock(mutex_);
    if (!error_) error_ = std::current_exception();
    may_start_.notify_all();
  }

  ByteSource& source_;
  const ZFileOptions& options_;
  const int fd_;
  const std::string& name_;
  uint64_t write_at_;
  const uint64_t blocks_;
  std::vector<uint32_t> lengths_;  // stored length of each block, CRC included: the ZFile's index
  const size_t batch_blocks_;
  const uint64_t batches_;
  const size_t worst_block_;

  std::mutex mutex_;
  std::condition_variable may_start_;
  std::vector<Slot> slots_;  // batches compressed before their turn
  std::vector<Buffer> spare_;
  uint64_t next_ = 0;  // the batch to compress next
  uint64_t head_ = 0;  // the first batch without a place in the file
  std::exception_ptr error_;
};

}  // namespace

void check_zfile_options(const ZFileOptions& options) {
  const uint32_t b = options.block_size;
  if (b < 4096 || b > 32768 || (b & (b - 1)) != 0) {
    throw std::invalid_argument("ZFile block size " + std::to_string(b) + ": must be 4096, 8192, 16384 or 32768");
  }
  if (options.threads == 0) throw std::invalid_argument("a ZFile cannot be written by 0 threads");
}

namespace {

// `size` bytes of a source from `offset` on.
class PartOfSource : public ByteSource {
 public:
  PartOfSource(ByteSource& whole, uint64_t offset, uint64_t size) : whole_(whole), offset_(offset), size_(size) {}
  uint64_t size() const override { return size_; }
  void read(void* buf, size_t count, uint64_t offset) override { whole_.read(buf, count, offset_ + offset); }

 private:
  ByteSource& whole_;
  const uint64_t offset_, size_;
};

// A ZFile in the making: header first, then blocks from whatever source, then index, trailer and header again.
class Output {
 public:
  Output(const ZFileOptions& options, int fd, uint64_t at, const std::string& name)
      : options_(options), fd_(fd), at_(at), name_(name), write_at_(at + kZFileHeaderSize) {
    check_zfile_options(options);
    header_.algorithm = static_cast<uint8_t>(options.algorithm);
    header_.block_size = options.block_size;
    write_header(ZFileHeader::kIsHeader | ZFileHeader::kDataFile | ZFileHeader::kDigest, at_);
  }

  void compress(ByteSource&& source) {
    BatchCompressor compressor(source, options_, fd_, write_at_, name_);
    write_at_ = compressor.run();
    lengths_.insert(lengths_.end(), compressor.lengths().begin(), compressor.lengths().end());
  }

  void copy(const KeptBlocks& kept) {
    const JumpTable& table = *kept.from.jump_table();
    const StoredBlocks stored(kept.from.header(), kept.from.jump_table(), 0);
    std::vector<char> buf(kCopyBytes);
    Misses none;
    for (uint64_t block = kept.begin; block < kept.end;) {
      const uint64_t from = table.offset(block);
      uint64_t to = from;
      for (; block < kept.end && table.offset(block + 1) - from <= buf.size(); block++) {
        lengths_.push_back(static_cast<uint32_t>(table.offset(block + 1) - to));
        to = table.offset(block + 1);
      }
      const size_t n = static_cast<size_t>(to - from);
      kept.from.payload()->try_read(buf.data(), n, from, none);
      const std::string problem = stored.check(buf.data(), n, from);
      if (!problem.empty()) throw FormatError(kept.from.name(), from, problem);
      pwrite_full(fd_, buf.data(), n, write_at_, name_);
      write_at_ += n;
    }
  }

  // Returns the size of the ZFile.
  uint64_t finish(uint64_t original_size) {
    const uint64_t index_at = write_at_;
    const size_t index_bytes = lengths_.size() * sizeof(uint32_t);
    pwrite_full(fd_, lengths_.data(), index_bytes, index_at, name_);
    header_.index_offset = index_at - at_;
    header_.block_count = lengths_.size();
    header_.original_size = original_size;
    header_.index_crc = crc32c_raw(lengths_.data(), index_bytes, 0);
    write_header(ZFileHeader::kDataFile | ZFileHeader::kSealed | ZFileHeader::kDigest, index_at + index_bytes);
    if (options_.completed_header) {
      write_header(ZFileHeader::kIsHeader | ZFileHeader::kDataFile | ZFileHeader::kCompleted | ZFileHeader::kDigest, at_);
    }
    return index_at + index_bytes + kZFileHeaderSize - at_;
  }

 private:
  static constexpr size_t kCopyBytes = 1 << 20;

  void write_header(uint64_t flags, uint64_t offset) {
    char block[kZFileHeaderSize];
    header_.flags = flags;
    encode_zfile_header(header_, block);
    pwrite_full(fd_, block, sizeof block, offset, name_);
  }

  const ZFileOptions& options_;
  const int fd_;
  const uint64_t at_;
  const std::string& name_;
  ZFileHeader header_;
  std::vector<uint32_t> lengths_;  // stored length of each block, CRC included: the ZFile's index
  uint64_t write_at_;
};

}  // namespace

uint64_t write_zfile(ByteSource& source, const ZFileOptions& options, int fd, uint64_t at, const std::string& name) {
  Output output(options, fd, at, name);
  output.compress(PartOfSource(source, 0, source.size()));
  return output.finish(source.size());
}

bool can_keep_blocks(const ZFileHeader& header, const ZFileOptions& options) {
  return header.algorithm == static_cast<uint8_t>(options.algorithm) && header.block_size == options.block_size &&
         header.verify == 1 && header.dict_size == 0;
}

uint64_t write_zfile_keeping(ByteSource& source, const KeptBlocks& kept, const ZFileOptions& options, int fd, uint64_t at,
                             const std::string& name) {
  if (!can_keep_blocks(kept.from.header(), options)) throw std::invalid_argument("blocks of a ZFile that is made differently");
  Output output(options, fd, at, name);
  const uint64_t begin = kept.begin * options.block_size, end = kept.end * options.block_size;
  output.compress(PartOfSource(source, 0, begin));
  output.copy(kept);
  output.compress(PartOfSource(source, end, source.size() - end));
  return output.finish(source.size());
}

}  // namespace obd
