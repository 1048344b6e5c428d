// gzip on several cores: independent deflate blocks, each primed with the 32 KiB before it, put together to
// one ordinary gzip member (as pigz does). The same input always gives the same bytes.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace obd::files {

class Deflater;

class ParallelGzip {
 public:
  // `level` 1-9, or -1 for zlib's default. `out` is called by the thread that calls `write` and `finish`.
  ParallelGzip(int level, std::function<void(std::string_view)> out);
  ~ParallelGzip();

  void write(std::string_view bytes);
  void finish();

 private:
  struct Block {
    std::string dictionary, input, output;
    uint32_t crc = 0;
    bool last = false, done = false;
    std::exception_ptr failure;
  };
  void submit(bool last);
  void emit_first();
  void start_threads();
  void work();
  void compress(Deflater& deflater, Block& block);

  const int level_;
  std::function<void(std::string_view)> out_;
  std::string pending_;
  std::string tail_;  // the 32 KiB before `pending_`
  uint32_t crc_ = 0;
  uint64_t size_ = 0;
  std::mutex mutex_;
  std::condition_variable has_work_, has_output_;
  std::deque<std::shared_ptr<Block>> in_order_, waiting_;
  std::vector<std::shared_ptr<Block>> spare_;  // done with; their memory is used again
  bool closing_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace obd::files
