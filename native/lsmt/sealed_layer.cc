#include "lsmt/sealed_layer.h"

#include <algorithm>
#include <vector>

#include "blob/local_blob.h"
#include "blob/tar_entry.h"
#include "error.h"
#include "zfile/tail.h"

namespace obd {
namespace {

// More than a trailer with the end of a tar behind it.
constexpr uint64_t kTailProbe = 4096;

void check_trailer(const LsmtHeader& t, const std::string& name, uint64_t trailer_offset) {
  auto fail = [&](const std::string& what) { throw FormatError(name, trailer_offset, "lsmt: " + what); };
  if (t.has(LsmtHeader::kIsHeader) || !t.has(LsmtHeader::kDataFile) || !t.has(LsmtHeader::kSealed)) {
    fail("the trailer's flags are not those of a sealed layer");
  }
  if (t.index_size > kLsmtMaxSealedRecords) {
    fail("the index claims " + std::to_string(t.index_size) + " records, at most " +
         std::to_string(kLsmtMaxSealedRecords) + " are allowed");
  }
  if (t.index_offset < kLsmtHeaderSize || t.index_offset > trailer_offset || t.index_offset % kSector != 0 ||
      t.index_size * kLsmtRecordSize > trailer_offset - t.index_offset) {
    fail("the index (offset " + std::to_string(t.index_offset) + ", " + std::to_string(t.index_size) +
         " records) lies outside the file");
  }
  if (t.virtual_size % kSector != 0 || t.virtual_size / kSector > Segment::kMaxOffset) {
    fail("impossible virtual size " + std::to_string(t.virtual_size));
  }
}

}  // namespace

std::shared_ptr<SealedLayer> SealedLayer::open(const std::shared_ptr<Blob>& blob) {
  Misses none;
  return try_open(blob, none);
}

std::shared_ptr<SealedLayer> SealedLayer::try_open(const std::shared_ptr<Blob>& blob, Misses& misses) {
  return try_open_on(nullptr, blob, misses);
}

std::shared_ptr<SealedLayer> SealedLayer::try_open_on(const std::shared_ptr<Blob>& target, const std::shared_ptr<Blob>& blob,
                                                      Misses& misses) {
  std::shared_ptr<SealedLayer> layer(new SealedLayer());
  layer->blob_ = blob;
  layer->target_ = target;

  // Head and tail are needed in any case: ask for both in the first round.
  char tail[kTailProbe];
  const size_t probe = static_cast<size_t>(std::min<uint64_t>(sizeof tail, blob->size()));
  const bool tail_local = blob->try_read(tail, probe, blob->size() - probe, misses);
  if (!try_unwrap_tar(blob, layer->payload_, misses) || !tail_local) return nullptr;
  if (!ZFile::try_open(layer->payload_, layer->zfile_, misses)) return nullptr;
  layer->content_ = layer->zfile_ ? std::static_pointer_cast<Blob>(layer->zfile_) : layer->payload_;
  const bool head_local = layer->try_read_head(misses);
  return layer->try_load_content(misses) && head_local ? layer : nullptr;
}

std::shared_ptr<SealedLayer> SealedLayer::try_open_from_tail(const std::shared_ptr<Blob>& blob, Misses& misses) {
  char tail[kTailProbe];
  const size_t probe = static_cast<size_t>(std::min<uint64_t>(sizeof tail, blob->size()));
  if (!blob->try_read(tail, probe, blob->size() - probe, misses)) return nullptr;
  const std::optional<ZFileAtTail> found = find_zfile_at_tail(tail, probe, blob->size());
  if (!found) return try_open(blob, misses);
  std::shared_ptr<SealedLayer> layer(new SealedLayer());
  layer->blob_ = blob;
  layer->payload_ = std::make_shared<WindowBlob>(blob, found->offset, found->size);
  if (!ZFile::try_open_at(layer->payload_, found->trailer, layer->zfile_, misses)) return nullptr;
  layer->content_ = layer->zfile_;
  return layer->try_load_content(misses) ? layer : nullptr;
}

// Checks that the content begins as a layer does.
bool SealedLayer::try_read_head(Misses& misses) {
  const uint64_t size = content_->size();
  if (size < 2 * kLsmtHeaderSize) {
    throw FormatError(name(), 0, "not an overlaybd layer: " + std::to_string(size) + " bytes are too few");
  }
  char block[kLsmtHeaderSize];
  if (!content_->try_read(block, sizeof block, 0, misses)) return false;
  if (!has_lsmt_magic(block)) {
    throw FormatError(name(), 0, zfile_ ? "not an overlaybd layer: a ZFile, but no LSMT magic in what it holds"
                                        : "not an overlaybd layer: neither ZFile nor LSMT magic in its first bytes");
  }
  header_ = decode_lsmt_header(block);
  if (!header_.has(LsmtHeader::kIsHeader)) throw FormatError(name(), 0, "lsmt: the header's flags say trailer");
  return true;
}

bool SealedLayer::try_load_content(Misses& misses) {
  if (content_->size() < 2 * kLsmtHeaderSize) {
    throw FormatError(name(), 0, "not an overlaybd layer: " + std::to_string(content_->size()) + " bytes are too few");
  }
  const uint64_t trailer_offset = content_->size() - kLsmtHeaderSize;
  char block[kLsmtHeaderSize];
  if (!content_->try_read(block, sizeof block, trailer_offset, misses)) return false;
  if (!has_lsmt_magic(block)) {
    throw FormatError(name(), trailer_offset, "lsmt: no trailer here: the layer is not sealed, or truncated");
  }
  trailer_ = decode_lsmt_header(block);
  check_trailer(trailer_, name(), trailer_offset);
  if (target_) joined_ = std::make_shared<JoinedBlob>(content_, target_);
  return try_load_index(misses);
}

bool SealedLayer::try_load_index(Misses& misses) {
  const uint64_t base = trailer_.index_offset;
  std::vector<char> raw(static_cast<size_t>(trailer_.index_size * kLsmtRecordSize));
  if (!content_->try_read(raw.data(), raw.size(), base, misses)) return false;
  // Tags count from the smallest there is.
  uint64_t lowest_tag = UINT64_MAX;
  for (size_t i = 0; target_ && i < raw.size(); i += kLsmtRecordSize) {
    const LsmtRecord r = decode_lsmt_record(raw.data() + i);
    if (!r.is_padding()) lowest_tag = std::min(lowest_tag, r.tag);
  }
  std::vector<Segment> segments;
  uint64_t covered = 0;
  for (size_t i = 0; i < raw.size(); i += kLsmtRecordSize) {
    LsmtRecord r = decode_lsmt_record(raw.data() + i);
    if (r.is_padding()) continue;
    auto fail = [&](const std::string& what) {
      throw FormatError(name(), base + i, "lsmt: index record " + std::to_string(i / kLsmtRecordSize) + " " + what);
    };
    if (r.length == 0) fail("is empty");
    if (r.offset < covered) fail("overlaps the one before it, or is out of order");
    if (r.offset + r.length > Segment::kMaxOffset) fail("lies beyond any disk");
    // A plain layer's tags mean nothing: overlaybd-merge leaves some.
    const uint64_t tag = target_ ? r.tag - lowest_tag : 0;
    if (tag > 1) fail("has tag " + std::to_string(tag) + ", 0 or 1 expected");
    const bool in_target = tag == 1 && !r.zeroed;
    const uint64_t first = in_target ? 0 : kLsmtHeaderSize / kSector;
    const uint64_t end = in_target ? (joined_->size() - target_begin()) / kSector : base / kSector;
    if (tag == 1 && r.zeroed) r.moffset = first;  // nobody checks where such a one points
    if (r.moffset < first || r.moffset > end || (!r.zeroed && r.length > end - r.moffset)) {
      fail("points outside " + (in_target ? target_->name() : "the data") + ", to sector " + std::to_string(r.moffset));
    }
    covered = r.offset + r.length;
    segments.push_back(segment_of(r, in_target));
  }
  index_ = std::make_shared<FrozenIndex>(segments);
  return true;
}

Segment SealedLayer::segment_of(const LsmtRecord& record, bool in_target) const {
  Segment s{};
  s.offset = record.offset;
  s.length = record.length;
  s.zeroed = record.zeroed;
  s.moffset = record.moffset + (in_target ? target_begin() / kSector : 0);
  return s;
}

}  // namespace obd

