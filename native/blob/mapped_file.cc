#include "blob/mapped_file.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace obd {
namespace {

// Bytes asked about at once: as much as a reader of compressed blocks takes.
constexpr size_t kMaxLent = 1 << 20;
constexpr size_t kSmallestPage = 4096;
// A piece that was in memory is not asked about again for a while: what leaves memory meanwhile is waited for.
constexpr size_t kPiece = 256 << 10;
constexpr uint32_t kTrustedMilliseconds = 1000;

thread_local MappedFile* lent_here = nullptr;

size_t page_size() {
  static const size_t size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
}

// Of a clock that costs nothing to look at; never 0.
uint32_t milliseconds() {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return static_cast<uint32_t>(now.tv_sec * 1000 + now.tv_nsec / 1000000) | 1;
}

struct sigaction former_handler;

void on_bus_error(int number, siginfo_t* info, void*) {
  const int error = errno;
  const bool sent = info->si_code <= 0;  // by a process: no access of ours
  if (sent || !LentBytes::replace_page(info->si_addr)) {
    // Not ours: what would have happened without this handler happens now.
    ::sigaction(number, &former_handler, nullptr);
    if (sent) ::raise(number);
  }
  errno = error;
}

void install_handler() {
  static const int installed = [] {
    struct sigaction action{};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    ::sigemptyset(&action.sa_mask);
    return ::sigaction(SIGBUS, &action, &former_handler);
  }();
  static_cast<void>(installed);
}

// The kernel ends a process for a fault that it cannot tell of.
bool is_told_here() {
  thread_local const bool told = [] {
    sigset_t blocked;
    return ::pthread_sigmask(SIG_BLOCK, nullptr, &blocked) == 0 && ::sigismember(&blocked, SIGBUS) == 0;
  }();
  return told;
}

}  // namespace

MappedFile::MappedFile(int fd, uint64_t size) : fd_(fd), size_(size) {
  install_handler();
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapped == MAP_FAILED) return;
  bytes_ = static_cast<char*>(mapped);
  seen_ = std::make_unique<std::atomic<uint32_t>[]>((size + kPiece - 1) / kPiece);
}

MappedFile::~MappedFile() {
  if (bytes_ != nullptr) ::munmap(bytes_, size_);
}

bool MappedFile::holds(uint64_t offset, size_t count) const noexcept {
  if (bytes_ == nullptr || broken_.load(std::memory_order_acquire)) return false;
  if (count > kMaxLent || offset > size_ || count > size_ - offset) return false;
  const uint64_t end = offset + count;
  for (uint64_t at = offset; at < end; at = (at / kPiece + 1) * kPiece) {
    if (!holds_of_piece(at, std::min(end, (at / kPiece + 1) * kPiece))) return false;
  }
  return true;
}

bool MappedFile::holds_of_piece(uint64_t begin, uint64_t end) const noexcept {
  std::atomic<uint32_t>& seen = seen_[begin / kPiece];
  const uint32_t now = milliseconds(), then = seen.load(std::memory_order_relaxed);
  if (then != 0 && now - then < kTrustedMilliseconds) return true;
  const uint64_t start = begin / kPiece * kPiece;
  const size_t length = std::min<uint64_t>(kPiece, size_ - start), pages = (length + page_size() - 1) / page_size();
  unsigned char in_memory[kPiece / kSmallestPage];
  if (::mincore(bytes_ + start, length, in_memory) != 0) return false;
  const auto all_are = [&](size_t from, size_t to) {
    return std::all_of(in_memory + from, in_memory + to, [](unsigned char page) { return (page & 1) != 0; });
  };
  if (all_are(0, pages)) {
    seen.store(now, std::memory_order_relaxed);
    return true;
  }
  return all_are((begin - start) / page_size(), (end - 1 - start) / page_size() + 1);
}

bool MappedFile::intact(uint64_t end) const noexcept {
  // Wherever the file was cut short, its last page is gone: looking there is a fault.
  static_cast<void>(*static_cast<const volatile char*>(bytes_ + size_ - 1));
  // Whoever has read zeros in place of a page sees that it was replaced.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (broken_.load(std::memory_order_relaxed)) return false;
  if (end <= (size_ - 1) / page_size() * page_size()) return true;
  // There is no fault for what was cut off the last page itself.
  struct stat now;
  return ::fstat(fd_, &now) == 0 && static_cast<uint64_t>(now.st_size) >= size_;
}

LentBytes::LentBytes(MappedFile& file, uint64_t offset, size_t count) noexcept {
  if (!is_told_here() || !file.holds(offset, count)) return;
  file_ = lent_here = &file;
  data_ = file.bytes_ + offset;
  end_ = offset + count;
}

LentBytes::~LentBytes() {
  if (file_ != nullptr) lent_here = nullptr;
}

bool LentBytes::intact() const noexcept { return file_ != nullptr && file_->intact(end_); }

bool LentBytes::replace_page(void* address) noexcept {
  MappedFile* const file = lent_here;
  char* const at = static_cast<char*>(address);
  if (file == nullptr || at < file->bytes_ || at >= file->bytes_ + file->size_) return false;
  file->broken_.store(true);
  char* const page = at - reinterpret_cast<uintptr_t>(at) % page_size();
  return ::mmap(page, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace obd
