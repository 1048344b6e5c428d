// What the bytes that were fetched of layer blobs are: the ranges of the blobs, mapped through ZFile or gzip
// index, LSMT index and the file system to paths.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
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

// A whole file system: its layers, bottom first, and whose each part of the disk is.
struct Base {
  std::vector<std::shared_ptr<Layer>> layers;
  std::optional<FileMap> files;
  std::string problem;  // why there is no map
};

// A compressed block that holds parts of several files counts for each in proportion. A layer that several bases have
// is told by all of them: what one has replaced, or does not know, may be another's file. Blobs of which nothing was
// fetched are left out.
std::vector<ExplainedBlob> explain_reads(const std::vector<Base>& bases, const FetchedRanges& fetched);

// Whether anything was fetched of these.
bool is_fetched(const std::vector<std::shared_ptr<Layer>>& layers, const FetchedRanges& fetched);

}  // namespace obd::ext4
