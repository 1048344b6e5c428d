// Random reads, writes, discards and flushes of a block device against a model in memory.
//   vm-stress DEVICE BYTES SECONDS SEED MODEL
// Four threads, each with a part of the first BYTES of the device, which must read as zeros. Direct I/O, whole
// sectors at any sector. Ends with 1 at the first byte that differs; else writes what the disk must hold to the
// file MODEL and prints what was done.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

constexpr size_t kSector = 512, kPage = 4096, kLongest = 512 << 10;
constexpr unsigned kThreads = 4;
// Of discards: what a loop device leaves alone when it is smaller.
constexpr size_t kDiscardUnit = kPage;

struct Counts {
  std::atomic<uint64_t> reads{0}, writes{0}, discards{0}, zeroings{0}, flushes{0};
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};
using Buffer = std::unique_ptr<char, Free>;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "vm-stress: %s\n", what.c_str());
  std::_Exit(1);
}

[[noreturn]] void fail_errno(const char* what, uint64_t offset, size_t count) {
  fail(std::string(what) + " of " + std::to_string(count) + " bytes at " + std::to_string(offset) + ": " + std::strerror(errno));
}

class Part {
 public:
  Part(int fd, char* model, uint64_t begin, uint64_t size, uint64_t seed)
      : fd_(fd), model_(model), begin_(begin), size_(size), random_(seed), buffer_(static_cast<char*>(std::aligned_alloc(kPage, kLongest))) {}

  void run(std::chrono::steady_clock::time_point end, Counts& counts) {
    while (std::chrono::steady_clock::now() < end) {
      const unsigned dice = below(100);
      if (dice < 45) write(counts);
      else if (dice < 85) read(counts);
      else if (dice < 90) erase(BLKDISCARD, kDiscardUnit, counts.discards);
      else if (dice < 96) erase(BLKZEROOUT, kSector, counts.zeroings);
      else flush(counts);
    }
    for (uint64_t at = 0; at < size_; at += kLongest) check(at, std::min<uint64_t>(kLongest, size_ - at));
  }

 private:
  uint64_t below(uint64_t limit) { return random_() % limit; }

  // A range of the part in multiples of `unit`: mostly short, now and then long, often near another's edge.
  void pick(size_t unit, uint64_t& at, size_t& count) {
    const size_t longest = below(8) == 0 ? kLongest : 16 * kPage;
    count = (1 + below(longest / unit)) * unit;
    at = below((size_ - count) / unit + 1) * unit;
    if (below(3) == 0) at -= at % std::max(kPage, unit);
  }

  void write(Counts& counts) {
    uint64_t at;
    size_t count;
    pick(kSector, at, count);
    // Half of it compresses.
    const uint64_t word = random_();
    for (size_t i = 0; i < count; i += 8) {
      const uint64_t value = (i / kPage) % 2 == 0 ? word : random_();
      std::memcpy(buffer_.get() + i, &value, 8);
    }
    if (::pwrite(fd_, buffer_.get(), count, static_cast<off_t>(begin_ + at)) != static_cast<ssize_t>(count)) fail_errno("write", begin_ + at, count);
    std::memcpy(model_ + begin_ + at, buffer_.get(), count);
    ++counts.writes;
  }

  void read(Counts& counts) {
    uint64_t at;
    size_t count;
    pick(kSector, at, count);
    check(at, count);
    ++counts.reads;
  }

  void check(uint64_t at, size_t count) {
    if (::pread(fd_, buffer_.get(), count, static_cast<off_t>(begin_ + at)) != static_cast<ssize_t>(count)) fail_errno("read", begin_ + at, count);
    const char* expected = model_ + begin_ + at;
    for (size_t i = 0; i < count; ++i) {
      if (buffer_.get()[i] != expected[i]) fail("byte " + std::to_string(begin_ + at + i) + " of the disk differs");
    }
  }

  void erase(unsigned long request, size_t unit, std::atomic<uint64_t>& counter) {
    uint64_t at;
    size_t count;
    pick(unit, at, count);
    uint64_t range[2] = {begin_ + at, count};
    if (::ioctl(fd_, request, range) != 0) fail_errno(request == BLKDISCARD ? "discard" : "zero-out", range[0], count);
    std::memset(model_ + begin_ + at, 0, count);
    ++counter;
  }

  void flush(Counts& counts) {
    if (::fdatasync(fd_) != 0) fail_errno("flush", begin_, size_);
    ++counts.flushes;
  }

  const int fd_;
  char* const model_;
  const uint64_t begin_, size_;
  std::mt19937_64 random_;
  const Buffer buffer_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) fail("usage: vm-stress DEVICE BYTES SECONDS SEED MODEL");
  const uint64_t size = std::strtoull(argv[2], nullptr, 10), seed = std::strtoull(argv[4], nullptr, 10);
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(std::strtoul(argv[3], nullptr, 10));
  const int fd = ::open(argv[1], O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0) fail_errno("open", 0, 0);
  const Buffer model(static_cast<char*>(std::calloc(1, size)));
  Counts counts;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { Part(fd, model.get(), i * (size / kThreads), size / kThreads, seed + i).run(end, counts); });
  }
  for (std::thread& thread : threads) thread.join();
  std::FILE* out = std::fopen(argv[5], "w");
  if (out == nullptr || std::fwrite(model.get(), 1, size, out) != size || std::fclose(out) != 0) fail(std::string("write ") + argv[5]);
  std::printf("%llu reads, %llu writes, %llu discards, %llu zero-outs, %llu flushes\n", static_cast<unsigned long long>(counts.reads),
              static_cast<unsigned long long>(counts.writes), static_cast<unsigned long long>(counts.discards),
              static_cast<unsigned long long>(counts.zeroings), static_cast<unsigned long long>(counts.flushes));
}
