// Where bytes come from: a local file, a window of another blob (a tar entry), or a remote blob behind
// the block cache. Reads never wait for the network: what is not local is reported as a miss, so a
// thread that serves a device is never blocked by a registry.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "blob/mapped_file.h"

namespace obd {

class RemoteBlob;

// A piece of a remote blob that has to be fetched before a read can be answered.
struct Miss {
  RemoteBlob* blob;
  uint64_t extent;  // index of the cache extent

  // No such piece, but bytes on a disk that this thread must not wait for (OnlyCached).
  static Miss on_disk() { return {nullptr, 0}; }
  bool is_on_disk() const { return blob == nullptr; }
};
using Misses = std::vector<Miss>;

// Bytes of a blob.
struct BlobRange {
  uint64_t begin, end;
};

class Blob {
 public:
  virtual ~Blob() = default;
  // Bytes in the blob.
  virtual uint64_t size() const = 0;
  // What an error message calls it: a path, or a digest.
  virtual const std::string& name() const = 0;
  // Reads exactly `count` bytes at `offset` into `buf`. Returns false, with every missing extent of the
  // range appended to `misses`, when some are not local; OnlyCached also lets the disk count as a miss. Throws FormatError
  // for a read past the end, std::system_error when the medium fails. Thread-safe.
  virtual bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) = 0;
  // Reads bytes that the blob keeps decompressed, for a reader of the ZFile in it: `offset` counts in what the ZFile
  // holds. False when they are not kept; they have to be decompressed from what try_read() gives then. A window forwards
  // this to the blob under it.
  virtual bool try_read_plain(void* /*buf*/, size_t /*count*/, uint64_t /*offset*/) { return false; }
  // The same bytes without a copy, where this blob can give them; else none, for whatever reason, and try_read tells.
  virtual LentBytes lend(uint64_t /*offset*/, size_t /*count*/) { return {}; }
  // The caller found this range corrupt (a checksum of the format above it). A blob that keeps copies of
  // remote bytes forgets them, appends their extents to `misses` and returns true: report a miss and read
  // again. False when fetching again cannot help: the caller throws FormatError. A window forwards this
  // to the blob under it.
  virtual bool distrust(uint64_t /*offset*/, size_t /*count*/, Misses& /*misses*/) { return false; }
};

}  // namespace obd
