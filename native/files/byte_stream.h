// Bytes that flow from one thread to the next.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "files/fd.h"

namespace obd::files {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // The next bytes, valid until the next call; empty at the end. Throws what made the source fail.
  virtual std::string_view next() = 0;
};

// A file from where its descriptor stands.
class FileSource : public ByteSource {
 public:
  FileSource(int fd, std::string name) : fd_(fd), name_(std::move(name)), buffer_(256 << 10) {}
  std::string_view next() override;

 private:
  int fd_;
  std::string name_;
  std::vector<char> buffer_;
};

// A bounded queue between one writer and one reader. Bytes are copied into buffers that are used again and
// again: fresh memory for every chunk would cost a page fault for every 4 KiB that pass.
class ByteQueue : public ByteSource {
 public:
  explicit ByteQueue(size_t limit) : limit_(limit) {}

  // Writer. `push` waits for room, `offer` does not and tells whether there is room for more; `wait_room`
  // waits until half of the limit is free. All throw what the reader gave up with.
  void push(std::string_view bytes);
  bool offer(std::string_view bytes);
  void wait_room();
  // No more bytes; with a failure, the reader gets that at the end of what was pushed before.
  void close(std::exception_ptr failure = nullptr);

  // Reader.
  std::string_view next() override;
  // Nobody reads any more: writers fail with `why`.
  void give_up(std::exception_ptr why);

 private:
  void check() const;
  void append(std::string_view bytes);

  const size_t limit_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> chunks_;
  std::vector<std::string> spare_;
  size_t queued_ = 0;
  std::string current_;
  bool closed_ = false;
  std::exception_ptr failure_, given_up_;
};

}  // namespace obd::files
