#include "zfile/codec.h"

#include <lz4.h>
#include <zstd.h>

#include <new>
#include <stdexcept>
#include <vector>

namespace obd {
namespace {

class Lz4Codec : public Codec {
 public:
  size_t compress(const void* src, size_t count, void* dst, size_t capacity) override {
    if (!state_) state_ = std::make_unique<LZ4_stream_t>();
    const int n = LZ4_compress_fast_extState(state_.get(), static_cast<const char*>(src), static_cast<char*>(dst),
                                             static_cast<int>(count), static_cast<int>(capacity), 1);
    if (n <= 0) throw std::runtime_error("lz4: compression failed");
    return static_cast<size_t>(n);
  }
  bool decompress(const void* src, size_t count, void* dst, size_t expected) override {
    const int n = LZ4_decompress_safe(static_cast<const char*>(src), static_cast<char*>(dst), static_cast<int>(count),
                                      static_cast<int>(expected));
    return n >= 0 && static_cast<size_t>(n) == expected;
  }

 private:
  std::unique_ptr<LZ4_stream_t> state_;
};

class ZstdCodec : public Codec {
 public:
  size_t compress(const void* src, size_t count, void* dst, size_t capacity) override {
    if (!cctx_) cctx_.reset(ZSTD_createCCtx());
    if (!cctx_) throw std::bad_alloc();
    const size_t n = ZSTD_compressCCtx(cctx_.get(), dst, capacity, src, count, 3);
    if (ZSTD_isError(n)) throw std::runtime_error(std::string("zstd: ") + ZSTD_getErrorName(n));
    return n;
  }
  bool decompress(const void* src, size_t count, void* dst, size_t expected) override {
    if (!dctx_) dctx_.reset(ZSTD_createDCtx());
    if (!dctx_) throw std::bad_alloc();
    const size_t n = ZSTD_decompressDCtx(dctx_.get(), dst, expected, src, count);
    return !ZSTD_isError(n) && n == expected;
  }

 private:
  struct Free {
    void operator()(ZSTD_CCtx* c) const { ZSTD_freeCCtx(c); }
    void operator()(ZSTD_DCtx* d) const { ZSTD_freeDCtx(d); }
  };
  std::unique_ptr<ZSTD_CCtx, Free> cctx_;
  std::unique_ptr<ZSTD_DCtx, Free> dctx_;
};

}  // namespace

std::unique_ptr<Codec> Codec::create(ZFileAlgorithm algorithm) {
  if (algorithm == ZFileAlgorithm::zstd) return std::make_unique<ZstdCodec>();
  return std::make_unique<Lz4Codec>();
}

Codec& thread_codec(ZFileAlgorithm algorithm) {
  thread_local std::unique_ptr<Codec> codecs[3];
  auto& slot = codecs[static_cast<size_t>(algorithm)];
  if (!slot) slot = Codec::create(algorithm);
  return *slot;
}

size_t compress_bound(ZFileAlgorithm algorithm, size_t count) {
  return algorithm == ZFileAlgorithm::zstd ? ZSTD_compressBound(count)
                                           : static_cast<size_t>(LZ4_compressBound(static_cast<int>(count)));
}

}  // namespace obd
