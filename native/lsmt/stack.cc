#include "lsmt/stack.h"

#include <cstring>
#include <mutex>
#include <utility>

#include "blob/local_blob.h"
#include "error.h"
#include "lsmt/overlay.h"

namespace obd {
namespace {

// Merges neighbours pairwise, so that a segment is copied log2(layers) times and not once per layer.
std::vector<Segment> merge(const std::vector<std::shared_ptr<Layer>>& layers, size_t from, size_t to) {
  if (from == to) return {};
  if (to - from == 1) return layers[from]->index()->segments();
  const size_t middle = from + (to - from) / 2;
  return overlay(merge(layers, middle, to), middle - from, merge(layers, from, middle));
}

}  // namespace

void Below::for_each_data(uint64_t begin, uint64_t end, const std::function<void(uint64_t, uint64_t)>& visit) const {
  if (index_) {
    index_->for_each(begin, end, [&](const Segment& s) {
      if (!s.zeroed) visit(s.begin(), s.end());
    });
    return;
  }
  uint64_t at = begin;
  layer_->index()->for_each(begin, end, [&](const Segment& s) {
    if (at < s.begin()) next_->for_each_data(at, s.begin(), visit);
    if (!s.zeroed) visit(s.begin(), s.end());
    at = s.end();
  });
  if (at < end) next_->for_each_data(at, end, visit);
}

Stack::Stack(std::vector<std::shared_ptr<Layer>> lowers, std::shared_ptr<WritableLayer> top)
    : lowers_(std::move(lowers)), writable_(top != nullptr), top_(std::move(top)) {
  if (lowers_.size() > Segment::kMaxSource) throw FormatError("stack", 0, "too many layers");
  for (const auto& layer : lowers_) {
    lower_data_.push_back(layer->data());
    if (layer->virtual_size() != 0) size_ = layer->virtual_size();
  }
  if (top_ && top_->virtual_size() != 0) size_ = top_->virtual_size();
  if (size_ == 0) throw FormatError("stack", 0, "none of the layers says how large the disk is");
  lower_index_ = lowers_.size() == 1 ? lowers_[0]->index() : std::make_shared<FrozenIndex>(merge(lowers_, 0, lowers_.size()));
  below_ = std::make_shared<Below>(lower_index_);
  if (top_) {
    written_data_.push_back(top_->data());
    top_->for_each(0, Segment::kMaxOffset, [&](const Segment& s) { written_.insert(s, false); });
  }
}

void Stack::check_range(uint64_t offset, uint64_t count) const {
  if (offset % kSector != 0 || count % kSector != 0) {
    throw FormatError("disk", offset, std::to_string(count) + " bytes are not whole sectors");
  }
  check_inside("disk", offset, count, size_);
}

void Stack::add_lower_pieces(uint64_t begin, uint64_t end, std::vector<Piece>& pieces) const {
  lower_index_->for_each(begin, end, [&](const Segment& s) {
    pieces.push_back({s, s.zeroed ? nullptr : lower_data_[s.source].get()});
  });
}

void Stack::resolve(uint64_t begin, uint64_t end, std::vector<Piece>& pieces) const {
  if (!writable_) return add_lower_pieces(begin, end, pieces);
  thread_local std::vector<Piece> written;
  written.clear();
  {
    std::shared_lock lock(index_mutex_);
    written_.for_each(begin, end, [&](const Segment& s) {
      written.push_back({s, s.zeroed ? nullptr : written_data_[s.source].get()});
    });
  }
  uint64_t at = begin;
  for (const Piece& p : written) {
    if (at < p.segment.begin()) add_lower_pieces(at, p.segment.begin(), pieces);
    pieces.push_back(p);
    at = p.segment.end();
  }
  if (at < end) add_lower_pieces(at, end, pieces);
}

bool Stack::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  check_range(offset, count);
  thread_local std::vector<Piece> pieces;
  pieces.clear();
  const uint64_t begin = offset / kSector, end = (offset + count) / kSector;
  resolve(begin, end, pieces);

  auto* out = static_cast<char*>(buf);
  bool local = true;
  uint64_t at = begin;
  auto zero_to = [&](uint64_t sector) {
    if (at < sector) std::memset(out + (at - begin) * kSector, 0, (sector - at) * kSector);
    at = sector;
  };
  for (size_t i = 0; i < pieces.size();) {
    const Segment& first = pieces[i].segment;
    zero_to(pieces[i].blob ? first.begin() : first.end());
    if (!pieces[i].blob) {
      i++;
      continue;
    }
    // Records are limited in length: what continues in the same file is one read.
    uint64_t run_end = first.end();
    size_t next = i + 1;
    while (next < pieces.size() && pieces[next].blob == pieces[i].blob && pieces[next].segment.begin() == run_end &&
           pieces[next].segment.moffset == first.moffset + (run_end - first.begin())) {
      run_end = pieces[next++].segment.end();
    }
    local &= pieces[i].blob->try_read(out + (first.begin() - begin) * kSector, (run_end - first.begin()) * kSector,
                                      first.moffset * kSector, misses);
    at = run_end;
    i = next;
  }
  zero_to(end);
  return local;
}

void Stack::write_records(uint64_t sector, uint64_t sectors, uint64_t moffset, bool zeroed) {
  std::unique_lock lock(index_mutex_);
  const uint64_t source = written_data_.size() - 1;
  top_->map(sector, sectors, moffset, zeroed, [&](const Segment& s) {
    Segment tagged = s;
    tagged.source = source;
    written_.insert(tagged, true);
  });
}

void Stack::write(const void* buf, size_t count, uint64_t offset) {
  check_range(offset, count);
  if (count == 0) return;
  std::shared_lock gate(gate_);
  if (!writable_) throw_errno("write to a read-only disk", EROFS);
  write_records(offset / kSector, count / kSector, top_->append(buf, count), false);
}

void Stack::discard(uint64_t offset, uint64_t count) {
  check_range(offset, count);
  std::shared_lock gate(gate_);
  if (!writable_) throw_errno("discard on a read-only disk", EROFS);
  write_records(offset / kSector, count / kSector, 0, true);
}

void Stack::flush() {
  std::shared_lock gate(gate_);
  if (writable_) top_->flush();
}

Stack::Frozen Stack::stack_writable(std::shared_ptr<WritableLayer> next) {
  if (next->virtual_size() != size_ || next->segments() != 0) {
    throw FormatError(next->name(), 0, "the layer to stack must be empty and " + std::to_string(size_) + " bytes large");
  }
  std::unique_lock gate(gate_);
  if (!writable_) throw_errno("seal a read-only disk", EROFS);
  auto below = std::make_shared<Below>(top_, below_);
  {
    std::unique_lock lock(index_mutex_);
    if (written_data_.size() > Segment::kMaxSource) throw FormatError(next->name(), 0, "too many layers in one stack");
    written_data_.reserve(written_data_.size() + 1);
  }
  top_->freeze();
  std::unique_lock lock(index_mutex_);
  written_data_.push_back(next->data());
  Frozen frozen{std::exchange(top_, std::move(next)), std::exchange(below_, std::move(below))};
  return frozen;
}

std::shared_ptr<WritableLayer> Stack::top() const {
  std::shared_lock gate(gate_);
  return top_;
}

std::shared_ptr<const Below> Stack::below_top() const {
  std::shared_lock gate(gate_);
  return below_;
}

Stack::IndexStats Stack::index_stats() const {
  std::shared_lock lock(index_mutex_);
  return {lower_index_->size(), written_.size(), lower_index_->memory() + written_.memory()};
}

}  // namespace obd
