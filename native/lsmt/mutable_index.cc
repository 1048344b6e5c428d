#include "lsmt/mutable_index.h"

#include <utility>

namespace obd {
namespace {

// Chunks grow in small steps and shrink again: doubling would leave half of the memory unused.
size_t with_room(size_t size) { return size + size / 8 + 2; }

std::vector<Segment> copy_with_room(const Segment* begin, const Segment* end) {
  std::vector<Segment> chunk;
  chunk.reserve(with_room(static_cast<size_t>(end - begin)));
  chunk.assign(begin, end);
  return chunk;
}

}  // namespace

MutableIndex::Place MutableIndex::find(uint64_t sector) const {
  const auto after = std::upper_bound(first_.begin(), first_.end(), sector);
  const size_t chunk = after == first_.begin() ? 0 : static_cast<size_t>(after - first_.begin()) - 1;
  const Chunk& c = chunks_[chunk];
  const auto it = std::partition_point(c.begin(), c.end(), [&](const Segment& s) { return s.end() <= sector; });
  return {chunk, static_cast<size_t>(it - c.begin())};
}

void MutableIndex::insert(Segment s, bool merge) {
  if (chunks_.empty()) {
    chunks_.push_back(Chunk{s});
    first_.push_back(s.offset);
    size_ = 1;
    return;
  }
  Place at = find(s.offset);
  auto next_offset = [&] {
    if (at.slot < chunks_[at.chunk].size()) return uint64_t{chunks_[at.chunk][at.slot].offset};
    return at.chunk + 1 < chunks_.size() ? first_[at.chunk + 1] : UINT64_MAX;
  };
  if (next_offset() < s.end()) {
    clear_range(s.offset, s.end());
    if (chunks_.empty()) return insert(s, merge);
    at = find(s.offset);
  }
  if (merge && at.slot > 0) {
    Segment& before = chunks_[at.chunk][at.slot - 1];
    if (before.end() == s.offset && before.mend() == s.moffset && before.zeroed == s.zeroed &&
        before.source == s.source && s.end() - before.begin() <= Segment::kMaxJoined) {
      before.length = before.length + s.length;
      return;
    }
  }
  insert_at(at, s);
}

void MutableIndex::insert_at(Place at, const Segment& s) {
  size_++;
  if (chunks_[at.chunk].size() == kChunk) {
    const bool append = at.chunk + 1 == chunks_.size() && at.slot == kChunk;
    const size_t keep = append ? kChunk : kChunk / 2;  // sequential writes leave full chunks behind
    Chunk& old = chunks_[at.chunk];
    Chunk upper = copy_with_room(old.data() + keep, old.data() + kChunk);
    if (!append) old = copy_with_room(old.data(), old.data() + keep);
    const uint64_t upper_first = upper.empty() ? s.offset : upper.front().offset;
    chunks_.insert(chunks_.begin() + static_cast<ptrdiff_t>(at.chunk) + 1, std::move(upper));
    first_.insert(first_.begin() + static_cast<ptrdiff_t>(at.chunk) + 1, upper_first);
    if (at.slot > keep || append) {
      at.chunk++;
      at.slot -= keep;
    }
  }
  Chunk& c = chunks_[at.chunk];
  if (c.size() == c.capacity()) c.reserve(with_room(c.size()));
  c.insert(c.begin() + static_cast<ptrdiff_t>(at.slot), s);
  if (at.slot == 0) first_[at.chunk] = s.offset;
}

void MutableIndex::erase(size_t chunk, size_t from, size_t to) {
  Chunk& c = chunks_[chunk];
  size_ -= to - from;
  c.erase(c.begin() + static_cast<ptrdiff_t>(from), c.begin() + static_cast<ptrdiff_t>(to));
  if (!c.empty() && c.capacity() > c.size() + c.size() / 2 + 4) c = copy_with_room(c.data(), c.data() + c.size());
}

void MutableIndex::clear_range(uint64_t begin, uint64_t end) {
  Place at = find(begin);
  if (at.slot == chunks_[at.chunk].size()) at = {at.chunk + 1, 0};
  if (at.chunk == chunks_.size()) return;

  // The first one may start before the range, and may even reach past it.
  Segment& head = chunks_[at.chunk][at.slot];
  if (head.offset < begin) {
    Segment rest = head;
    head.end_at(begin);
    at.slot++;
    if (rest.end() > end) {
      rest.advance_to(end);
      insert_at(at, rest);
      return;
    }
  }

  const size_t first_chunk = at.chunk;
  size_t chunk = at.chunk, slot = at.slot;
  size_t gone_begin = chunks_.size(), gone_end = chunks_.size();  // chunks emptied, a contiguous run
  while (chunk < chunks_.size()) {
    Chunk& c = chunks_[chunk];
    size_t stop = slot;
    while (stop < c.size() && c[stop].end() <= end) stop++;
    const bool more = stop == c.size();
    if (!more && c[stop].offset < end) c[stop].advance_to(end);
    if (stop > slot) erase(chunk, slot, stop);
    if (c.empty()) {
      if (gone_begin == chunks_.size()) gone_begin = chunk;
      gone_end = chunk + 1;
    } else {
      first_[chunk] = c.front().offset;
    }
    if (!more) break;
    chunk++;
    slot = 0;
  }
  if (gone_begin < gone_end) {
    chunks_.erase(chunks_.begin() + static_cast<ptrdiff_t>(gone_begin), chunks_.begin() + static_cast<ptrdiff_t>(gone_end));
    first_.erase(first_.begin() + static_cast<ptrdiff_t>(gone_begin), first_.begin() + static_cast<ptrdiff_t>(gone_end));
    if (first_.capacity() > 4 * first_.size() + 64) {
      first_.shrink_to_fit();
      chunks_.shrink_to_fit();
    }
  }
  if (first_chunk + 1 < chunks_.size()) join_small(first_chunk + 1);
  join_small(first_chunk);
}

void MutableIndex::join_small(size_t chunk) {
  if (chunk + 1 >= chunks_.size()) return;
  Chunk& a = chunks_[chunk];
  Chunk& b = chunks_[chunk + 1];
  if (a.size() + b.size() > kChunk / 2) return;
  a.reserve(with_room(a.size() + b.size()));
  a.insert(a.end(), b.begin(), b.end());
  chunks_.erase(chunks_.begin() + static_cast<ptrdiff_t>(chunk) + 1);
  first_.erase(first_.begin() + static_cast<ptrdiff_t>(chunk) + 1);
}

std::vector<Segment> MutableIndex::segments() const {
  std::vector<Segment> all;
  all.reserve(size_);
  for (const Chunk& c : chunks_) all.insert(all.end(), c.begin(), c.end());
  return all;
}

size_t MutableIndex::memory() const {
  size_t bytes = first_.capacity() * sizeof(uint64_t) + chunks_.capacity() * sizeof(Chunk);
  for (const Chunk& c : chunks_) bytes += c.capacity() * sizeof(Segment);
  return bytes;
}

}  // namespace obd
