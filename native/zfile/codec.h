// Compression and decompression of one block, with the state each codec needs kept for the next.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "zfile/zfile_format.h"

namespace obd {

// One thread's codec for one algorithm.
class Codec {
 public:
  virtual ~Codec() = default;
  // Compresses `count` bytes (at most 64 KiB) and returns the compressed size. `dst` has room for
  // `compress_bound`. Output is that of LZ4_compress_default, or ZSTD_compress at level 3.
  virtual size_t compress(const void* src, size_t count, void* dst, size_t capacity) = 0;
  // Decompresses exactly `expected` bytes into `dst`; false when the input is not such a block.
  virtual bool decompress(const void* src, size_t count, void* dst, size_t expected) = 0;

  static std::unique_ptr<Codec> create(ZFileAlgorithm algorithm);
};

// This thread's codec; it lives as long as the thread.
Codec& thread_codec(ZFileAlgorithm algorithm);

// The most bytes a block of `count` bytes can take compressed.
size_t compress_bound(ZFileAlgorithm algorithm, size_t count);

}  // namespace obd
