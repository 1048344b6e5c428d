// One mapping of an LSMT index in memory: 16 bytes, in 512-byte sectors.
#pragma once
#include <cstdint>

namespace obd {

constexpr uint64_t kSector = 512;

struct Segment {
  static constexpr uint64_t kMaxLength = 16383;              // sectors, what an index record can say
  // Neighbours are joined up to this length: a multiple of the 64-sector pieces a commit copies, so that
  // joining moves no boundary of the committed records.
  static constexpr uint64_t kMaxJoined = 255 * 64;
  static constexpr uint64_t kMaxOffset = (uint64_t{1} << 50) - 1;
  static constexpr uint64_t kMaxMoffset = (uint64_t{1} << 47) - 1;
  static constexpr uint64_t kMaxSource = (uint64_t{1} << 16) - 1;

  uint64_t offset : 50;   // first virtual sector
  uint64_t length : 14;   // sectors, at least 1
  uint64_t moffset : 47;  // first sector in the source
  uint64_t zeroed : 1;    // reads as zeros, hides what lies below, and has no data
  uint64_t source : 16;   // which source of a stack holds the data; 0 in the index of a single layer

  uint64_t begin() const { return offset; }
  uint64_t end() const { return offset + length; }
  uint64_t mend() const { return zeroed ? moffset : moffset + length; }
  // Cuts the front off, up to virtual sector `to`.
  void advance_to(uint64_t to) {
    if (!zeroed) moffset = moffset + (to - offset);
    length = length - (to - offset);
    offset = to;
  }
  void end_at(uint64_t to) { length = to - offset; }
};
static_assert(sizeof(Segment) == 16, "an index costs 16 bytes a segment plus the structure around it");

}  // namespace obd
