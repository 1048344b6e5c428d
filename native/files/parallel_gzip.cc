#include "files/parallel_gzip.h"

#include <zlib.h>

#include <algorithm>
#include <stdexcept>
#include <system_error>

#include "files/task.h"

namespace obd::files {

namespace {

constexpr size_t kBlock = 256 << 10;
constexpr size_t kWindow = 32 << 10;

std::string little_endian(uint32_t value) {
  std::string out;
  for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(value >> shift);
  return out;
}

}  // namespace

// A raw deflate stream that is used for one block after the other.
class Deflater {
 public:
  explicit Deflater(int level) {
    if (deflateInit2(&stream_, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  }
  ~Deflater() { deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;

  void run(const std::string& dictionary, const std::string& input, bool last, std::string& out) {
    deflateReset(&stream_);
    deflateSetDictionary(&stream_, reinterpret_cast<const Bytef*>(dictionary.data()), static_cast<uInt>(dictionary.size()));
    out.resize(deflateBound(&stream_, input.size()) + 16);
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    const int rc = deflate(&stream_, last ? Z_FINISH : Z_SYNC_FLUSH);
    if (rc != (last ? Z_STREAM_END : Z_OK) || stream_.avail_in != 0) throw std::logic_error("deflate failed");
    out.resize(out.size() - stream_.avail_out);
  }

 private:
  z_stream stream_ = {};
};

ParallelGzip::ParallelGzip(int level, std::function<void(std::string_view)> out) : level_(level), out_(std::move(out)) {
  using namespace std::string_view_literals;
  out_("\x1f\x8b\x08\0\0\0\0\0\0\xff"sv);
  start_threads();
}

void ParallelGzip::start_threads() {
  try {
    for (size_t i = 0; i < worker_count(); i++) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {
    if (threads_.empty()) throw;  // else those that could be started do it all
  }
}

ParallelGzip::~ParallelGzip() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    closing_ = true;
    waiting_.clear();
  }
  has_work_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void ParallelGzip::work() {
  Deflater deflater(level_);
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    has_work_.wait(lock, [this] { return closing_ || !waiting_.empty(); });
    if (closing_) return;
    auto block = waiting_.front();
    waiting_.pop_front();
    lock.unlock();
    try {
      compress(deflater, *block);
    } catch (...) {
      block->failure = std::current_exception();
    }
    lock.lock();
    block->done = true;
    has_output_.notify_all();
  }
}

void ParallelGzip::compress(Deflater& deflater, Block& block) {
  deflater.run(block.dictionary, block.input, block.last, block.output);
  block.crc = static_cast<uint32_t>(
      crc32(0, reinterpret_cast<const Bytef*>(block.input.data()), static_cast<uInt>(block.input.size())));
}

void ParallelGzip::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t n = std::min(bytes.size(), kBlock - pending_.size());
    pending_ += bytes.substr(0, n);
    bytes.remove_prefix(n);
    if (pending_.size() == kBlock) submit(false);
  }
}

void ParallelGzip::submit(bool last) {
  std::shared_ptr<Block> block;
  if (spare_.empty()) {
    block = std::make_shared<Block>();
  } else {
    block = std::move(spare_.back());
    spare_.pop_back();
  }
  block->dictionary = tail_;
  block->input.swap(pending_);
  block->last = last;
  block->done = false;
  pending_.clear();
  pending_.reserve(kBlock);
  tail_.assign(block->input, block->input.size() - std::min(block->input.size(), kWindow));
  bool full;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(block);
    in_order_.push_back(block);
    full = in_order_.size() > 2 * threads_.size();
  }
  has_work_.notify_one();
  if (full) emit_first();
}

void ParallelGzip::emit_first() {
  std::unique_lock<std::mutex> lock(mutex_);
  auto block = in_order_.front();
  in_order_.pop_front();
  has_output_.wait(lock, [&] { return block->done; });
  lock.unlock();
  if (block->failure) std::rethrow_exception(block->failure);
  crc_ = static_cast<uint32_t>(crc32_combine(crc_, block->crc, static_cast<z_off_t>(block->input.size())));
  size_ += block->input.size();
  out_(block->output);
  spare_.push_back(std::move(block));
}

void ParallelGzip::finish() {
  submit(true);
  while (!in_order_.empty()) emit_first();
  out_(little_endian(crc_) + little_endian(static_cast<uint32_t>(size_)));
}

}  // namespace obd::files
