// Decompression of a stream whose kind its first bytes tell: gzip, bzip2, xz, zstd, or none of them.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "files/byte_stream.h"

namespace obd::files {

// Whether a stream that begins with these bytes (at least 6, unless it is shorter) is compressed.
bool is_compressed(std::string_view head);

// Reads `in` to its end and hands the decompressed bytes on. Throws FsError (EBADMSG) for damaged or truncated data,
// and whatever `in` and `out` throw.
void decompress(ByteSource& in, const std::function<void(std::string_view)>& out);

}  // namespace obd::files
