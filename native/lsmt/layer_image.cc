#include "lsmt/layer_image.h"

#include <algorithm>
#include <cstring>

#include "error.h"

namespace obd {
namespace {

constexpr uint64_t kPiece = 64;                 // sectors: the reference copies 32 KiB at a time, a record each
constexpr uint64_t kJoinLimit = 16383;          // joined records stay shorter than this
constexpr size_t kPageRecords = 4096 / kLsmtRecordSize;

}  // namespace

LayerImage::LayerImage(const Layer& source, const LsmtHeader& identity, const Below* below, uint64_t kept)
    : data_(source.data()), kept_sectors_(kept / kSector), next_sector_(kept_sectors_) {
  constexpr uint64_t kFirst = kLsmtHeaderSize / kSector;
  if (kept_sectors_ > kFirst) runs_.push_back({kFirst, kFirst});
  lay_out(*source.index(), below);
  finish_index();
  if (index_.size() / kLsmtRecordSize > kLsmtMaxSealedRecords) {
    throw FormatError(source.name(), 0, "the layer has " + std::to_string(segments_) + " segments; readers accept at most " +
                                            std::to_string(kLsmtMaxSealedRecords) + " in a layer: split the step that wrote it");
  }
  LsmtHeader h = identity;
  h.flags = LsmtHeader::kIsHeader | LsmtHeader::kDataFile | LsmtHeader::kSealed;
  h.index_offset = h.index_size = 0;
  header_.resize(kLsmtHeaderSize);
  encode_lsmt_header(h, header_.data());
  h.flags = LsmtHeader::kDataFile | LsmtHeader::kSealed;
  h.index_offset = index_offset_;
  h.index_size = index_.size() / kLsmtRecordSize;
  trailer_.resize(kLsmtHeaderSize);
  encode_lsmt_header(h, trailer_.data());
}

void LayerImage::lay_out(const FrozenIndex& index, const Below* below) {
  index.for_each([&](const Segment& s) {
    if (!s.zeroed) return add_data(s);
    uint64_t begin = s.begin(), end = s.end();
    if (below) {
      begin = end = 0;
      below->for_each_data(s.begin(), s.end(), [&](uint64_t from, uint64_t to) {
        if (end == 0) begin = from;
        end = to;
      });
    }
    if (begin < end) add_record(begin, end - begin, next_sector_, true);
  });
}

void LayerImage::add_data(const Segment& s) {
  if (s.mend() <= kept_sectors_) return add_record(s.offset, s.length, s.moffset, false);
  if (runs_.empty() || runs_.back().source + (next_sector_ - runs_.back().image) != s.moffset) {
    runs_.push_back({next_sector_, s.moffset});
  }
  for (uint64_t at = 0; at < s.length; at += kPiece) {
    const uint64_t n = std::min<uint64_t>(kPiece, s.length - at);
    add_record(s.offset + at, n, next_sector_, false);
    next_sector_ += n;
  }
}

void LayerImage::add_record(uint64_t offset, uint64_t length, uint64_t moffset, bool zeroed) {
  if (!records_.empty()) {
    Segment& last = records_.back();
    if (last.zeroed == zeroed && last.end() == offset && last.mend() == moffset && last.length + length < kJoinLimit) {
      last.length = last.length + length;
      return;
    }
  }
  Segment s{};
  s.offset = offset;
  s.length = length;
  s.moffset = moffset;
  s.zeroed = zeroed;
  records_.push_back(s);
}

void LayerImage::finish_index() {
  index_offset_ = next_sector_ * kSector;
  segments_ = records_.size();
  const size_t padded = (records_.size() + kPageRecords - 1) / kPageRecords * kPageRecords;
  index_.resize(padded * kLsmtRecordSize);
  for (size_t i = 0; i < padded; i++) {
    char* record = index_.data() + i * kLsmtRecordSize;
    if (i < records_.size()) {
      encode_lsmt_record(records_[i], record);
    } else {
      encode_lsmt_padding(record);
    }
  }
  trailer_offset_ = index_offset_ + index_.size();
  records_ = {};
}

void LayerImage::read(void* buf, size_t count, uint64_t offset) {
  auto* out = static_cast<char*>(buf);
  while (count > 0) {
    size_t n;
    auto copy_from = [&](const std::string& part, uint64_t start) {
      n = static_cast<size_t>(std::min<uint64_t>(count, start + part.size() - offset));
      std::memcpy(out, part.data() + (offset - start), n);
    };
    if (offset < kLsmtHeaderSize) {
      copy_from(header_, 0);
    } else if (offset < index_offset_) {
      n = static_cast<size_t>(std::min<uint64_t>(count, index_offset_ - offset));
      read_data(out, n, offset);
    } else if (offset < trailer_offset_) {
      copy_from(index_, index_offset_);
    } else {
      copy_from(trailer_, trailer_offset_);
    }
    out += n;
    offset += n;
    count -= n;
  }
}

void LayerImage::read_data(char* buf, size_t count, uint64_t offset) {
  auto after = std::upper_bound(runs_.begin(), runs_.end(), offset / kSector,
                                [](uint64_t sector, const Run& r) { return sector < r.image; });
  Misses none;
  while (count > 0) {
    const Run& run = *(after - 1);
    const uint64_t run_end = after == runs_.end() ? index_offset_ : after->image * kSector;
    const size_t n = static_cast<size_t>(std::min<uint64_t>(count, run_end - offset));
    if (!data_->try_read(buf, n, run.source * kSector + (offset - run.image * kSector), none)) {
      throw FormatError(data_->name(), offset, "commit: the data is not on this machine");
    }
    buf += n;
    offset += n;
    count -= n;
    ++after;
  }
}

}  // namespace obd
