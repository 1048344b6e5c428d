// Files around a payload: the ZFile and the tar that a layer blob is wrapped in, and the same for any file
// (what overlaybd-zfile does).
#pragma once
#include <cstdint>
#include <optional>
#include <string>

#include "blob/new_file.h"
#include "zfile/zfile_writer.h"

namespace obd {

// Writes `source` into the empty `file`, as a ZFile if there are options for it, inside a tar with the one
// entry overlaybd.commit if asked. A ZFile takes over the blocks of `kept`, if given (write_zfile_keeping).
// Returns the size of the file in bytes.
uint64_t write_payload(ByteSource& source, const std::optional<ZFileOptions>& zfile, bool tar, const NewFile& file,
                       const KeptBlocks* kept = nullptr);

// Compresses the file `from` into the ZFile `to`. Returns the size of `to` in bytes.
uint64_t compress_file(const std::string& from, const std::string& to, const ZFileOptions& options, bool tar);

// Writes the plain content of the ZFile `from` (tar-wrapped or not) to `to`; returns its size in bytes.
// Throws FormatError when `from` is not a ZFile or is damaged.
uint64_t decompress_file(const std::string& from, const std::string& to);

}  // namespace obd
