// What the bytes that were fetched of layer blobs are: the ranges of the blobs, mapped through ZFile or gzip
// index, LSMT index and the file system to paths.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "blob/blob.h"
#include "ext4/file_map.h"
#include "lsmt/layer.h"

namespace obd::ext4 {

// Fetched ranges by the names of the blobs. What was fetched twice is in it twice.
using FetchedRanges = std::map<std::string, std::vector<BlobRange>>;

// One blob's fetched bytes.
struct ExplainedBlob {
  struct Part {
    std::string path;  // of a file, or a name in brackets for what is no file's
    uint64_t bytes;    // of the blob
  };
  std::string digest;
  std::vector<Part> parts;  // the largest first; together exactly what was fetched
};

// `layers` bottom first, as the disk of `files` is made of them. A compressed block that holds parts of several files
// counts for each in proportion. Blobs of which nothing was fetched are left out.
std::vector<ExplainedBlob> explain_reads(const std::vector<std::shared_ptr<Layer>>& layers, const FileMap& files, const FetchedRanges& fetched);

// The same when there is no map: one part a blob, with the reason.
std::vector<ExplainedBlob> unexplained_reads(const std::vector<std::shared_ptr<Layer>>& layers, const std::string& reason, const FetchedRanges& fetched);

}  // namespace obd::ext4
