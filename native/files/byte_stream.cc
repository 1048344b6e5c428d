#include "files/byte_stream.h"

#include <algorithm>

#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr size_t kChunk = 256 << 10;

}  // namespace

std::string_view FileSource::next() {
  ssize_t n;
  do {
    n = ::read(fd_, buffer_.data(), buffer_.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) throw_path("read", name_);
  return {buffer_.data(), static_cast<size_t>(n)};
}

void ByteQueue::check() const {
  if (given_up_) std::rethrow_exception(given_up_);
}

// Fills up the last buffer, then further ones, all of the same size.
void ByteQueue::append(std::string_view bytes) {
  queued_ += bytes.size();
  while (!bytes.empty()) {
    if (chunks_.empty() || chunks_.back().size() == kChunk) {
      if (spare_.empty()) {
        chunks_.emplace_back().reserve(kChunk);
      } else {
        chunks_.push_back(std::move(spare_.back()));
        spare_.pop_back();
      }
    }
    const size_t n = std::min(bytes.size(), kChunk - chunks_.back().size());
    chunks_.back().append(bytes.substr(0, n));
    bytes.remove_prefix(n);
  }
  changed_.notify_all();
}

void ByteQueue::push(std::string_view bytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return given_up_ || queued_ == 0 || queued_ + bytes.size() <= limit_; });
  check();
  append(bytes);
}

bool ByteQueue::offer(std::string_view bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  check();
  append(bytes);
  return queued_ < limit_;
}

void ByteQueue::wait_room() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return given_up_ || queued_ <= limit_ / 2; });
  check();
}

void ByteQueue::close(std::exception_ptr failure) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (closed_) return;
  closed_ = true;
  failure_ = failure;
  changed_.notify_all();
}

std::string_view ByteQueue::next() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return closed_ || !chunks_.empty(); });
  if (chunks_.empty()) {
    if (failure_) std::rethrow_exception(failure_);
    return {};
  }
  if (current_.capacity() >= kChunk) {
    current_.clear();
    spare_.push_back(std::move(current_));
  }
  current_ = std::move(chunks_.front());
  chunks_.pop_front();
  queued_ -= current_.size();
  changed_.notify_all();
  return current_;
}

void ByteQueue::give_up(std::exception_ptr why) {
  std::lock_guard<std::mutex> lock(mutex_);
  given_up_ = why;
  chunks_.clear();
  queued_ = 0;
  changed_.notify_all();
}

}  // namespace obd::files
