// Looks at everything a layer file holds and checks every checksum in it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lsmt/local_layer.h"

namespace obd {

struct TarReport {
  uint64_t payload_offset, payload_size;  // bytes of the blob
};

struct ZFileReport {
  std::string algorithm;       // "lz4", "zstd"
  uint32_t block_size;         // bytes
  uint64_t blocks;
  uint64_t original_size;      // bytes
  uint64_t stored_size;        // bytes of all compressed blocks, checksums included
  uint64_t index_offset;       // bytes from the start of the payload
  uint64_t header_flags, trailer_flags;
  bool completed_header;       // else only the trailer counts
  bool digests;                // header, trailer and index carry checksums
  bool block_checksums;
};

struct LsmtReport {
  std::string uuid, parent_uuid, user_tag;
  uint64_t virtual_size;       // bytes of the disk, 0: that of the layers below
  uint32_t header_flags, trailer_flags;  // trailer: 0 when there is none (writable layers)
  uint64_t index_offset;       // bytes from the start of the LSMT file, 0 for writable layers
  uint64_t records;            // on disk, padding included; 0 for sparse layers
  uint64_t padding;
  uint64_t segments;           // in use
  uint64_t zeroed;             // of these
  uint64_t data_bytes, zeroed_bytes;  // of the disk
};

struct TurboReport {
  std::string target;          // path of the ordinary layer
  uint64_t target_size;        // bytes
  bool gzip;
  uint64_t index_entries;      // of the gzip index; 0 without one
  uint64_t plain_size;         // bytes of the ordinary layer's tar
  uint64_t target_bytes;       // of the disk that are read from it
};

struct LayerReport {
  std::string kind;            // "sealed", "turbo", "writable", "sparse", or "unknown"
  uint64_t size = 0;           // bytes of the (data) file
  std::optional<TarReport> tar;
  std::optional<ZFileReport> zfile;
  std::optional<LsmtReport> lsmt;
  std::optional<TurboReport> turbo;
  // What is wrong, each naming file and offset. A damaged layer is reported on as far as it can be read.
  std::vector<std::string> problems;
};

// Throws only when the file cannot be opened or read.
LayerReport inspect_layer(const LayerFiles& files, unsigned threads);

}  // namespace obd
