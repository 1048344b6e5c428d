// TurboOCI layers (FORMATS.md 6.3): a small archive with the file system's metadata and the index of the
// gzip file that the ordinary layer is; the contents of files are read from that.
#pragma once
#include <memory>
#include <string>

#include "lsmt/sealed_layer.h"

namespace obd {

// What a turboOCI layer's archive holds, unpacked.
struct TurboArchive {
  std::string fs_meta;     // a sealed layer
  std::string gzip_index;  // empty when the ordinary layer is a plain tar
};

// Unpacks the bytes of an archive, compressed or not; errors call it `name`. Throws FormatError for what is no
// such archive, is damaged, or has a file system other than ext4 in it.
TurboArchive unpack_turbo_archive(const std::string& bytes, const std::string& name);

// Opens the layer of `archive`, which is read whole, on top of `target`, the blob of the ordinary layer. With
// `digest` ("sha256:...") the archive's bytes are checked against it. Returns null with the extents to fetch
// when some bytes are not local: fetch them and call again. Throws FormatError.
std::shared_ptr<SealedLayer> try_open_turbo_layer(const std::shared_ptr<Blob>& archive, const std::string& digest,
                                                  const std::shared_ptr<Blob>& target, Misses& misses);

}  // namespace obd
