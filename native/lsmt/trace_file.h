// Prefetch traces as overlaybd records them (FORMATS.md 7): which parts of which layers a container's start
// has read.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace obd {

struct TraceRecord {
  uint32_t layer;          // position in the stack, bottom 0
  uint64_t offset, count;  // bytes of the layer's LSMT file, uncompressed
};

// Whether the bytes begin as a trace does; otherwise they are a list of paths.
bool is_trace(const std::string& bytes);
// The reads in a trace, in their order. Throws FormatError, calling it `name`.
std::vector<TraceRecord> parse_trace(const std::string& bytes, const std::string& name);
std::string write_trace(const std::vector<TraceRecord>& records);

}  // namespace obd
