// Finds a ZFile by the end of the blob it lies in, without the beginning (FORMATS.md 1.2, 3).
#pragma once
#include <cstdint>
#include <optional>

#include "zfile/zfile_format.h"

namespace obd {

struct ZFileAtTail {
  ZFileHeader trailer;
  uint64_t offset, size;  // of the ZFile in the blob
};

// Looks at the last `count` bytes of a blob of `blob_size` bytes. Nullopt when they do not end with a
// checksummed ZFile trailer, perhaps with the end of a tar behind it, and so say nothing for certain.
std::optional<ZFileAtTail> find_zfile_at_tail(const char* tail, size_t count, uint64_t blob_size);

}  // namespace obd
