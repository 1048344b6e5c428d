// Makes a sealed layer blob of a frozen writable layer, or of one sealed in place: only data still in use
// is copied, in the order of the disk (FORMATS.md 2.3), then compressed (1), tar-wrapped (3) and hashed.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "lsmt/layer.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"
#include "zfile/zfile_writer.h"

namespace obd {

struct CommitOptions {
  // Empty: a plain LSMT file. Otherwise its ZFile.
  std::optional<ZFileOptions> zfile = ZFileOptions{};
  // Wraps the result into a tar with the one entry overlaybd.commit.
  bool tar = true;
  // 8-4-4-4-12 hex; empty gives zeros. Without a parent, the source's is kept.
  std::string uuid;
  std::optional<std::string> parent_uuid;
  // At most 256 bytes.
  std::string user_tag;
  // Discarded ranges below which this has no data are left out; without it all are kept, as the reference does.
  std::shared_ptr<const Below> below;
  // Whether the digest of the file is wanted; it costs a second pass over the written bytes.
  bool digest = true;
};

struct CommitResult {
  std::string digest;   // "sha256:..." of the file, empty when not asked for
  uint64_t size;        // bytes of the file
  uint64_t segments;    // index records, padding not counted
  uint64_t data_bytes;  // of the virtual disk, before compression
};

// Writes `path`, which appears when it is complete (blob/new_file.h). The bytes depend on the source and the options only, not on the number of threads. Throws
// std::invalid_argument for a bad option, FormatError when the layer has more records than readers accept,
// std::system_error (ENOSPC, ...).
CommitResult commit(const Layer& source, const CommitOptions& options, const std::string& path);

// Makes one layer of `former` and of what was written on it, the data of the latter behind that of the former. The
// stored blocks of `former` are taken over as they are, also those that are not in use any more, unless these are more
// than a tenth of the data: then all of it is written anew. `options.below` has to be what lies below `former`.
// Throws FormatError as well when a stored block is damaged.
CommitResult commit_onto(const std::shared_ptr<SealedLayer>& former, const Layer& written, const CommitOptions& options,
                         const std::string& path);

}  // namespace obd
