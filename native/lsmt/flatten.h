// Writes the disk that a stack of layers shows as one sparse raw file.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "lsmt/local_layer.h"

namespace obd {

struct FlattenResult {
  uint64_t size;     // bytes of the disk
  uint64_t written;  // bytes that are not zero, in whole 4 KiB blocks; the rest is holes
};

// `layers` bottom first; `out` is replaced once the disk is complete. Needs no root and no device. Throws
// FormatError for a damaged layer, std::system_error.
FlattenResult flatten(const std::vector<LayerFiles>& layers, const std::string& out, unsigned threads);

}  // namespace obd
