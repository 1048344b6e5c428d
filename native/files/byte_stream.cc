#include "files/byte_stream.h"

#include "files/fs_error.h"

namespace obd::files {

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

void ByteQueue::push(std::string chunk) {
  if (chunk.empty()) return;
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return given_up_ || queued_ == 0 || queued_ + chunk.size() <= limit_; });
  check();
  queued_ += chunk.size();
  chunks_.push_back(std::move(chunk));
  changed_.notify_all();
}

bool ByteQueue::offer(std::string chunk) {
  std::lock_guard<std::mutex> lock(mutex_);
  check();
  queued_ += chunk.size();
  if (!chunk.empty()) chunks_.push_back(std::move(chunk));
  changed_.notify_all();
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
  changed_.wait(lock, [&] { return failure_ || closed_ || !chunks_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
  if (chunks_.empty()) return {};
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
