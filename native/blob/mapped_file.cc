#include "blob/mapped_file.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace obd {
namespace {

// Bytes asked about at once: as much as a reader of compressed blocks takes.
constexpr size_t kMaxLent = 1 << 20;
constexpr size_t kSmallestPage = 4096;

thread_local MappedFile* lent_here = nullptr;

size_t page_size() {
  static const size_t size = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  return size;
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
  if (mapped != MAP_FAILED) bytes_ = static_cast<char*>(mapped);
}

MappedFile::~MappedFile() {
  if (bytes_ != nullptr) ::munmap(bytes_, size_);
}

bool MappedFile::holds(uint64_t offset, size_t count) const noexcept {
  if (bytes_ == nullptr || broken_.load(std::memory_order_acquire)) return false;
  if (count > kMaxLent || offset > size_ || count > size_ - offset) return false;
  unsigned char in_memory[kMaxLent / kSmallestPage + 1];
  const size_t before = offset % page_size();
  if (::mincore(bytes_ + offset - before, before + count, in_memory) != 0) return false;
  const size_t pages = (before + count + page_size() - 1) / page_size();
  for (size_t i = 0; i < pages; ++i) {
    if ((in_memory[i] & 1) == 0) return false;
  }
  return true;
}

bool MappedFile::intact() const noexcept {
  // Whoever has read zeros in place of a page sees that it was replaced.
  std::atomic_thread_fence(std::memory_order_acquire);
  if (broken_.load(std::memory_order_relaxed)) return false;
  // There is no fault for what was cut off the last page.
  struct stat now;
  return ::fstat(fd_, &now) == 0 && static_cast<uint64_t>(now.st_size) >= size_;
}

LentBytes::LentBytes(MappedFile& file, uint64_t offset, size_t count) noexcept {
  if (!is_told_here() || !file.holds(offset, count)) return;
  file_ = lent_here = &file;
  data_ = file.bytes_ + offset;
}

LentBytes::~LentBytes() {
  if (file_ != nullptr) lent_here = nullptr;
}

bool LentBytes::intact() const noexcept { return file_ != nullptr && file_->intact(); }

bool LentBytes::replace_page(void* address) noexcept {
  MappedFile* const file = lent_here;
  char* const at = static_cast<char*>(address);
  if (file == nullptr || at < file->bytes_ || at >= file->bytes_ + file->size_) return false;
  file->broken_.store(true);
  char* const page = at - reinterpret_cast<uintptr_t>(at) % page_size();
  return ::mmap(page, page_size(), PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
}

}  // namespace obd
