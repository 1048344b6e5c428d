#include "files/decoders.h"

#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <climits>
#include <new>
#include <string>

#include "files/fs_error.h"

namespace obd::files {

namespace {

[[noreturn]] void damaged(const std::string& text) { throw FsError(text, EBADMSG); }

[[noreturn]] void decompression_failed(const char* text) {
  damaged(std::string("decompression failed: ") + (text != nullptr ? text : "damaged data"));
}

unsigned small(size_t size) { return static_cast<unsigned>(std::min<size_t>(size, UINT_MAX)); }

class GzipDecoder : public Decoder {
 public:
  GzipDecoder() {
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }

  Step step(std::string_view& in, char* room, size_t size) override {
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = small(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(room);
    stream_.avail_out = small(size);
    const int rc = inflate(&stream_, Z_NO_FLUSH);
    in.remove_prefix(reinterpret_cast<const char*>(stream_.next_in) - in.data());
    const size_t made = reinterpret_cast<char*>(stream_.next_out) - room;
    // What came before the damage goes first.
    if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR && made == 0) {
      // At the end of the member, as Go says it: "incorrect data check" (or length) is zlib's.
      if (stream_.msg != nullptr && std::string_view(stream_.msg).substr(0, 9) == "incorrect") damaged("gzip: invalid checksum");
      decompression_failed(stream_.msg);
    }
    return {made, rc == Z_STREAM_END};
  }

 private:
  z_stream stream_{};
};

class Bzip2Decoder : public Decoder {
 public:
  Bzip2Decoder() {
    if (BZ2_bzDecompressInit(&stream_, 0, 0) != BZ_OK) throw std::bad_alloc();
  }
  ~Bzip2Decoder() override { BZ2_bzDecompressEnd(&stream_); }

  Step step(std::string_view& in, char* room, size_t size) override {
    stream_.next_in = const_cast<char*>(in.data());
    stream_.avail_in = small(in.size());
    stream_.next_out = room;
    stream_.avail_out = small(size);
    const int rc = BZ2_bzDecompress(&stream_);
    in.remove_prefix(stream_.next_in - in.data());
    const size_t made = stream_.next_out - room;
    if (rc != BZ_OK && rc != BZ_STREAM_END && made == 0) decompression_failed("bzip2 data invalid");
    return {made, rc == BZ_STREAM_END};
  }

 private:
  bz_stream stream_{};
};

class XzDecoder : public Decoder {
 public:
  XzDecoder() {
    if (lzma_stream_decoder(&stream_, UINT64_MAX, 0) != LZMA_OK) throw std::bad_alloc();
  }
  ~XzDecoder() override { lzma_end(&stream_); }

  Step step(std::string_view& in, char* room, size_t size) override {
    stream_.next_in = reinterpret_cast<const uint8_t*>(in.data());
    stream_.avail_in = in.size();
    stream_.next_out = reinterpret_cast<uint8_t*>(room);
    stream_.avail_out = size;
    const lzma_ret rc = lzma_code(&stream_, LZMA_RUN);
    in.remove_prefix(in.size() - stream_.avail_in);
    const size_t made = size - stream_.avail_out;
    // BuildKit runs xz.
    if (rc != LZMA_OK && rc != LZMA_STREAM_END && rc != LZMA_BUF_ERROR && made == 0) {
      damaged("exit status 1: xz: (stdin): Compressed data is corrupt");
    }
    return {made, rc == LZMA_STREAM_END};
  }

 private:
  lzma_stream stream_ = LZMA_STREAM_INIT;
};

class ZstdDecoder : public Decoder {
 public:
  ZstdDecoder() : stream_(ZSTD_createDStream(), ZSTD_freeDStream) {
    if (!stream_) throw std::bad_alloc();
  }

  Step step(std::string_view& in, char* room, size_t size) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    ZSTD_outBuffer output{room, size, 0};
    const size_t rc = ZSTD_decompressStream(stream_.get(), &output, &input);
    in.remove_prefix(input.pos);
    if (ZSTD_isError(rc) && output.pos == 0) decompression_failed(ZSTD_getErrorName(rc));
    return {output.pos, rc == 0};
  }

 private:
  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
};

}  // namespace

Compression compression_of(std::string_view head) {
  using namespace std::string_view_literals;
  auto begins = [&](std::string_view magic) { return head.substr(0, magic.size()) == magic; };
  if (begins("\x1f\x8b\x08"sv)) return Compression::gzip;
  if (begins("BZh"sv)) return Compression::bzip2;
  if (begins("\xfd\x37zXZ\0"sv)) return Compression::xz;
  if (begins("\x28\xb5\x2f\xfd"sv)) return Compression::zstd;
  // A frame to be skipped (RFC 8878, 3.1.2) may come first.
  if (head.size() >= 8 && (head[0] & 0xf0) == 0x50 && head.substr(1, 3) == "\x2a\x4d\x18"sv) return Compression::zstd;
  return Compression::none;
}

bool may_begin(Compression kind, char first) {
  switch (kind) {
    case Compression::gzip: return first == '\x1f';
    case Compression::bzip2: return first == 'B';
    case Compression::xz: return first == '\xfd';
    default: return first == '\x28' || (first & 0xf0) == 0x50;
  }
}

std::unique_ptr<Decoder> make_decoder(Compression kind) {
  switch (kind) {
    case Compression::gzip: return std::make_unique<GzipDecoder>();
    case Compression::bzip2: return std::make_unique<Bzip2Decoder>();
    case Compression::xz: return std::make_unique<XzDecoder>();
    default: return std::make_unique<ZstdDecoder>();
  }
}

}  // namespace obd::files
