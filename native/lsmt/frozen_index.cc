#include "lsmt/frozen_index.h"

#include "lsmt/count_of_16.h"

namespace obd {

FrozenIndex::FrozenIndex(const std::vector<Segment>& segments) : segments_(segments) {
  if (segments.empty()) return;
  const size_t groups = (segments.size() + PackedSegments::kGroup - 1) / PackedSegments::kGroup;
  bases_.reserve(groups + 16);
  for (size_t i = 0; i < segments.size(); i += PackedSegments::kGroup) bases_.push_back(segments[i].offset);
  const uint64_t span = bases_.back() - bases_.front();
  while (span >> slice_bits_ >= groups) ++slice_bits_;
  const uint64_t slices = (span >> slice_bits_) + 1;
  slices_.reserve(slices + 1);
  uint32_t group = 0;
  for (uint64_t slice = 0; slice < slices; ++slice) {
    while (group + 1 < groups && bases_[group + 1] - bases_.front() <= slice << slice_bits_) ++group;
    slices_.push_back(group);
  }
  slices_.push_back(static_cast<uint32_t>(groups - 1));
  bases_.resize(groups + 16, UINT64_MAX);
}

size_t FrozenIndex::memory() const {
  return segments_.memory() + bases_.capacity() * sizeof bases_[0] + slices_.capacity() * sizeof slices_[0];
}

std::vector<Segment> FrozenIndex::segments() const {
  std::vector<Segment> all;
  all.reserve(size());
  for_each([&](const Segment& s) { all.push_back(s); });
  return all;
}

size_t FrozenIndex::find(uint64_t sector) const {
  if (size() == 0) return 0;
  if (sector < bases_.front()) return 0;
  const uint64_t slice = std::min<uint64_t>((sector - bases_.front()) >> slice_bits_, slices_.size() - 2);
  size_t group = slices_[slice];
  // Where nearly everything lies in a small part of the disk, a slice has many groups.
  for (size_t left = slices_[slice + 1] - group + 1; left > 16;) {
    const size_t half = left / 2;
    group += (bases_[group + half] <= sector) * half;
    left -= half;
  }
  group += count_of_16([&](size_t i) { return bases_[group + 1 + i] <= sector; });
  return segments_.find(group, bases_[group], sector);
}

}  // namespace obd
