#include "files/content_pool.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>

#include "files/fs_error.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

constexpr size_t kMaxQueued = 128;  // open target files waiting for a thread
constexpr size_t kBuffer = 1 << 20;

void write_all(int fd, const char* data, size_t size, const std::string& shown) {
  while (size > 0) {
    ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("write", shown);
    data += n;
    size -= static_cast<size_t>(n);
  }
}

// Copies [from, to) of the source, both descriptors standing at `from`. Stops early at the source's end.
void copy_range(int source, int target, uint64_t from, uint64_t to, const ContentPool::Job& job,
                std::vector<char>& buffer, Task& task) {
  while (from < to) {
    task.check();
    ssize_t n = ::read(source, buffer.data(), std::min<uint64_t>(buffer.size(), to - from));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("read", job.tree->shown(*job.source));
    if (n == 0) return;
    write_all(target, buffer.data(), static_cast<size_t>(n), job.shown);
    from += static_cast<uint64_t>(n);
    task.bytes += static_cast<uint64_t>(n);
  }
}

// Copies the data parts of a file with holes; the holes stay.
void copy_sparse(int source, int target, uint64_t size, const ContentPool::Job& job, std::vector<char>& buffer,
                 Task& task) {
  for (off_t at = 0; static_cast<uint64_t>(at) < size;) {
    off_t data = ::lseek(source, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // only a hole is left
    off_t hole = data < 0 ? -1 : ::lseek(source, data, SEEK_HOLE);
    if (data < 0 || hole < 0) {  // a file system that does not know its holes
      data = at;
      hole = static_cast<off_t>(size);
    }
    if (::lseek(source, data, SEEK_SET) < 0 || ::lseek(target, data, SEEK_SET) < 0) throw_path("seek", job.shown);
    copy_range(source, target, static_cast<uint64_t>(data), static_cast<uint64_t>(hole), job, buffer, task);
    at = hole;
  }
  if (::ftruncate(target, static_cast<off_t>(size)) != 0) throw_path("truncate", job.shown);
}

}  // namespace

ContentPool::ContentPool(Task& task) : task_(task) {}

ContentPool::~ContentPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    queue_.clear();
  }
  has_work_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ContentPool::submit(Job job) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (threads_.empty()) {
    for (size_t i = 0; i < worker_count(); i++) threads_.emplace_back([this] { work(); });
  }
  has_room_.wait(lock, [this] { return failure_ || queue_.size() < kMaxQueued; });
  if (failure_) std::rethrow_exception(failure_);
  queue_.push_back(std::move(job));
  lock.unlock();
  has_work_.notify_one();
}

void ContentPool::finish() {
  std::unique_lock<std::mutex> lock(mutex_);
  has_room_.wait(lock, [this] { return failure_ || (queue_.empty() && running_ == 0); });
  if (failure_) std::rethrow_exception(failure_);
}

void ContentPool::work() {
  std::vector<char> buffer(kBuffer);
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    has_work_.wait(lock, [this] { return closing_ || !queue_.empty(); });
    if (closing_) return;
    Job job = std::move(queue_.front());
    queue_.pop_front();
    running_++;
    lock.unlock();
    std::exception_ptr failure;
    try {
      with_context("failed to copy files", [&] { copy(job, buffer); });
    } catch (...) {
      failure = std::current_exception();
    }
    job.target.reset();
    lock.lock();
    running_--;
    if (failure && !failure_) failure_ = failure;
    if (queue_.size() < kMaxQueued / 2 || failure_) has_room_.notify_all();
  }
}

void ContentPool::copy(Job& job, std::vector<char>& buffer) {
  task_.check();
  const Node& source = *job.source;
  const int target = job.target.get();
  if (S_ISREG(source.mode)) {
    Fd fd = job.tree->open_file(source);
    struct stat st;
    if (::fstat(fd.get(), &st) != 0) throw_path("stat", job.tree->shown(source));
    if (source.size > 0) {
      if (static_cast<uint64_t>(st.st_blocks) * 512 < source.size) {
        copy_sparse(fd.get(), target, source.size, job, buffer, task_);
      } else if (::ioctl(target, FICLONE, fd.get()) == 0) {
        task_.bytes += source.size;
      } else {
        copy_range(fd.get(), target, 0, source.size, job, buffer, task_);
      }
    }
    // A chown takes set-id bits and capabilities away: owner first, then mode, then xattrs, times last.
    set_owner(target, "", job.metadata.owner, job.shown);
    if (::fchmod(target, job.metadata.mode) != 0) throw_path("chmod", job.shown);
    copy_xattrs(read_xattrs(fd.get(), "", job.shown), target, "", job.shown);
    job.tree->check_unchanged(source, fd.get());
  } else {  // a socket: its copy is an empty file
    set_owner(target, "", job.metadata.owner, job.shown);
    if (::fchmod(target, job.metadata.mode) != 0) throw_path("chmod", job.shown);
  }
  set_times(target, "", job.metadata.mtime, job.shown);
  task_.files++;
}

}  // namespace obd::files
