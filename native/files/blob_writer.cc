#include "files/blob_writer.h"

#include <unistd.h>
#include <zstd.h>

#include <climits>
#include <memory>
#include <vector>

#include "files/fs_error.h"
#include "files/parallel_gzip.h"

namespace obd::files {

namespace {

constexpr size_t kQueue = 8 << 20;

// zstd with libzstd's own worker threads; what they make does not depend on their timing.
class ZstdStream {
 public:
  ZstdStream(int level, std::function<void(std::string_view)> out)
      : context_(ZSTD_createCCtx(), ZSTD_freeCCtx), out_(std::move(out)), buffer_(ZSTD_CStreamOutSize()) {
    if (!context_) throw std::bad_alloc();
    check(ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, level == INT_MIN ? 3 : level));
    // Without thread support in the library this fails, and one thread does the work.
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_nbWorkers, static_cast<int>(worker_count()));
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_jobSize, 2 << 20);  // of 8 MiB by default: much memory
  }
  void write(std::string_view bytes) { run(bytes, ZSTD_e_continue); }
  void finish() { run({}, ZSTD_e_end); }

 private:
  size_t check(size_t rc) {
    if (ZSTD_isError(rc)) throw FsError(std::string("zstd: ") + ZSTD_getErrorName(rc), EINVAL);
    return rc;
  }
  void run(std::string_view bytes, ZSTD_EndDirective mode) {
    ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
    while (true) {
      ZSTD_outBuffer out{buffer_.data(), buffer_.size(), 0};
      const size_t left = check(ZSTD_compressStream2(context_.get(), &out, &in, mode));
      out_({buffer_.data(), out.pos});
      if (mode == ZSTD_e_end ? left == 0 : in.pos == in.size) return;
    }
  }

  std::unique_ptr<ZSTD_CCtx, size_t (*)(ZSTD_CCtx*)> context_;
  std::function<void(std::string_view)> out_;
  std::vector<char> buffer_;
};

}  // namespace

BlobWriter::BlobWriter(int fd, std::string name, Compression compression, int level, Task& task)
    : fd_(fd), name_(std::move(name)), task_(task), queue_(kQueue) {
  thread_ = std::thread([this, compression, level] {
    try {
      run(compression, level);
    } catch (...) {
      failure_ = std::current_exception();
      queue_.give_up(failure_);
    }
  });
}

BlobWriter::~BlobWriter() {
  queue_.close(std::make_exception_ptr(FsError("context canceled", ECANCELED)));
  if (thread_.joinable()) thread_.join();
}

BlobResult BlobWriter::finish() {
  queue_.close();
  thread_.join();
  if (failure_) std::rethrow_exception(failure_);
  return result_;
}

void BlobWriter::put(std::string_view bytes) {
  blob_hash_.update(bytes);
  result_.size += bytes.size();
  while (!bytes.empty()) {
    ssize_t n = ::write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("write", name_);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

void BlobWriter::run(Compression compression, int level) {
  auto out = [this](std::string_view bytes) { put(bytes); };
  Sha256 tar_hash;
  std::unique_ptr<ParallelGzip> gzip;
  std::unique_ptr<ZstdStream> zstd;
  if (compression == Compression::gzip) gzip = std::make_unique<ParallelGzip>(level == INT_MIN ? -1 : level, out);
  if (compression == Compression::zstd) zstd = std::make_unique<ZstdStream>(level, out);
  for (std::string_view chunk = queue_.next(); !chunk.empty(); chunk = queue_.next()) {
    task_.check();
    task_.bytes += chunk.size();
    if (compression != Compression::none) tar_hash.update(chunk);
    if (gzip) gzip->write(chunk);
    else if (zstd) zstd->write(chunk);
    else put(chunk);
  }
  if (gzip) gzip->finish();
  if (zstd) zstd->finish();
  result_.digest = blob_hash_.finish();
  result_.diff_id = compression == Compression::none ? result_.digest : tar_hash.finish();
}

}  // namespace obd::files
