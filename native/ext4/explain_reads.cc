#include "ext4/explain_reads.h"

#include <algorithm>
#include <iterator>

#include "blob/local_blob.h"
#include "gzip/gzip_file.h"
#include "lsmt/sealed_layer.h"

namespace obd::ext4 {
namespace {

const char* const kFormat = "[overlaybd headers and indexes]";
const char* const kArchive = "[turboOCI metadata]";
const char* const kGzip = "[gzip header and trailer]";
const char* const kTar = "[tar headers]";
const char* const kHidden = "[hidden by layers above]";
const char* const kUnowned = "[no file]";

using Shares = std::map<std::string, uint64_t>;  // bytes of a blob, by path

// Deals the `weight` bytes of a blob that are behind `length` bytes of content out to these, in order: whole bytes,
// in proportion, and all of them in the end.
class Dealer {
 public:
  Dealer(uint64_t weight, uint64_t length) : weight_(weight), length_(length) {}
  // The share of the next `count` bytes.
  uint64_t take(uint64_t count) {
    done_ += count;
    const auto total = static_cast<uint64_t>(static_cast<unsigned __int128>(weight_) * done_ / length_);
    const uint64_t share = total - dealt_;
    dealt_ = total;
    return share;
  }

 private:
  const uint64_t weight_, length_;
  uint64_t done_ = 0, dealt_ = 0;
};

// Those with data, in the order this has in their layer.
std::vector<Segment> stored_parts(const std::vector<Segment>& segments) {
  std::vector<Segment> parts;
  std::copy_if(segments.begin(), segments.end(), std::back_inserter(parts), [](const Segment& s) { return !s.zeroed; });
  std::sort(parts.begin(), parts.end(), [](const Segment& a, const Segment& b) { return a.moffset < b.moffset; });
  return parts;
}

// The parts of each layer that show on the disk, in the order they have in the layer.
std::vector<std::vector<Segment>> visible_parts(const std::vector<std::shared_ptr<Layer>>& layers) {
  FrozenIndex merged;
  for (size_t i = 0; i < layers.size(); i++) merged = FrozenIndex::overlay(*layers[i]->index(), i, merged);
  std::vector<std::vector<Segment>> parts(layers.size());
  for (const Segment& s : stored_parts(merged.segments())) parts[s.source].push_back(s);
  return parts;
}

class LayerExplainer {
 public:
  LayerExplainer(const SealedLayer& layer, const std::vector<Segment>& visible, const FileMap& files)
      : layer_(layer), visible_(visible), own_(stored_parts(layer.index()->segments())), files_(files) {}

  // Bytes of the layer's own blob.
  void add_own(BlobRange range, Shares& shares) const {
    if (layer_.target()) {
      shares[kArchive] += range.end - range.begin;
      return;
    }
    const auto* window = dynamic_cast<const WindowBlob*>(layer_.payload().get());
    const uint64_t payload = window ? window->offset() : 0;
    const uint64_t payload_end = payload + layer_.payload()->size();
    const uint64_t begin = std::clamp(range.begin, payload, payload_end), end = std::clamp(range.end, payload, payload_end);
    shares[kFormat] += (range.end - range.begin) - (end - begin);
    if (begin == end) return;
    if (layer_.zfile()) {
      add_blocks(begin - payload, end - payload, shares);
    } else {
      add_content(begin - payload, end - payload, end - begin, shares);
    }
  }

  // Bytes of the ordinary layer that a turboOCI layer points into.
  void add_target(BlobRange range, Shares& shares) const {
    const auto* gzip = dynamic_cast<const GzipFile*>(layer_.target().get());
    if (gzip == nullptr) {
      add_content(layer_.target_begin() + range.begin, layer_.target_begin() + range.end, range.end - range.begin, shares);
      return;
    }
    // Which bytes of a piece are behind which of its content cannot be told: all of it counts alike.
    uint64_t explained = 0;
    const GzipIndex& index = gzip->index();
    for (size_t i = 0; i < index.entries().size(); i++) {
      const uint64_t begin = std::max(range.begin, index.entries()[i].packed), end = std::min(range.end, index.packed_end(i));
      if (begin >= end || index.plain_end(i) <= index.entries()[i].plain) continue;
      explained += end - begin;
      add_content(layer_.target_begin() + index.entries()[i].plain, layer_.target_begin() + index.plain_end(i), end - begin, shares);
    }
    shares[kGzip] += range.end - range.begin - explained;
  }

 private:
  // Stored bytes of the ZFile.
  void add_blocks(uint64_t begin, uint64_t end, Shares& shares) const {
    const JumpTable& table = *layer_.zfile()->jump_table();
    const uint64_t block_size = layer_.zfile()->header().block_size, size = layer_.zfile()->size();
    uint64_t low = 0, high = table.blocks();  // the first block that ends after `begin`
    while (low < high) {
      const uint64_t middle = low + (high - low) / 2;
      if (table.offset(middle + 1) <= begin) low = middle + 1; else high = middle;
    }
    uint64_t explained = 0;
    for (uint64_t block = low; block < table.blocks() && table.offset(block) < end; block++) {
      const uint64_t bytes = std::min(end, table.offset(block + 1)) - std::max(begin, table.offset(block));
      explained += bytes;
      add_content(block * block_size, std::min((block + 1) * block_size, size), bytes, shares);
    }
    shares[kFormat] += end - begin - explained;
  }

  // Bytes of layer.data(), behind which there are `weight` bytes of the blob.
  void add_content(uint64_t begin, uint64_t end, uint64_t weight, Shares& shares) const {
    if (begin >= end) {
      shares[kFormat] += weight;
      return;
    }
    Dealer dealer(weight, end - begin);
    uint64_t at = begin;
    const auto give = [&](uint64_t to, const std::string& path) {
      if (to <= at) return;
      shares[path] += dealer.take(to - at);
      at = to;
    };
    for (auto next = first_behind(visible_, begin); next != visible_.end() && next->moffset * kSector < end; ++next) {
      give_unseen(next->moffset * kSector, at, give);
      const uint64_t to = std::min<uint64_t>(end, next->mend() * kSector);
      if (to <= at) continue;
      const uint64_t disk = next->offset * kSector + (at - next->moffset * kSector), shift = disk - at;
      files_.for_each(disk, to + shift, [&](uint64_t first, uint64_t last, const std::string& path) {
        give(first - shift, kUnowned);
        give(last - shift, path);
      });
      give(to, kUnowned);
    }
    give_unseen(end, at, give);
  }

  // What of the content, from `at` on, is not on the disk: no part of it, or data that layers above have replaced.
  template <typename Give>
  void give_unseen(uint64_t to, const uint64_t& at, Give give) const {
    const char* const other = layer_.target() ? kTar : kFormat;
    for (auto next = first_behind(own_, at); next != own_.end() && next->moffset * kSector < to; ++next) {
      give(next->moffset * kSector, other);
      give(std::min<uint64_t>(to, next->mend() * kSector), kHidden);
    }
    give(to, other);
  }

  static std::vector<Segment>::const_iterator first_behind(const std::vector<Segment>& parts, uint64_t begin) {
    return std::partition_point(parts.begin(), parts.end(), [&](const Segment& s) { return s.mend() * kSector <= begin; });
  }

  const SealedLayer& layer_;
  const std::vector<Segment>& visible_;
  const std::vector<Segment> own_;  // all it has, in the same order
  const FileMap& files_;
};

// Calls visit(layer number, name, whether it is the layer's target) for each blob of which something was fetched.
template <typename Visit>
void for_each_blob(const std::vector<std::shared_ptr<Layer>>& layers, const FetchedRanges& fetched, Visit visit) {
  for (size_t i = 0; i < layers.size(); i++) {
    const auto sealed = std::dynamic_pointer_cast<SealedLayer>(layers[i]);
    if (!sealed) continue;
    const auto add = [&](const std::string& name, bool is_target) {
      const auto found = fetched.find(name);
      if (found != fetched.end()) visit(i, *sealed, *found, is_target);
    };
    add(sealed->name(), false);
    if (sealed->target()) add(sealed->target()->name(), true);
  }
}

ExplainedBlob sorted(const std::string& digest, const Shares& shares) {
  ExplainedBlob blob{digest, {}};
  for (const auto& [path, bytes] : shares) {
    if (bytes > 0) blob.parts.push_back({path, bytes});
  }
  std::stable_sort(blob.parts.begin(), blob.parts.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return blob;
}

}  // namespace

std::vector<ExplainedBlob> explain_reads(const std::vector<std::shared_ptr<Layer>>& layers, const FileMap& files, const FetchedRanges& fetched) {
  const auto visible = visible_parts(layers);
  std::vector<ExplainedBlob> blobs;
  for_each_blob(layers, fetched, [&](size_t i, const SealedLayer& layer, const FetchedRanges::value_type& blob, bool is_target) {
    const LayerExplainer explainer(layer, visible[i], files);
    Shares shares;
    for (const BlobRange& range : blob.second) {
      if (is_target) explainer.add_target(range, shares); else explainer.add_own(range, shares);
    }
    blobs.push_back(sorted(blob.first, shares));
  });
  return blobs;
}

std::vector<ExplainedBlob> unexplained_reads(const std::vector<std::shared_ptr<Layer>>& layers, const std::string& reason, const FetchedRanges& fetched) {
  std::vector<ExplainedBlob> blobs;
  for_each_blob(layers, fetched, [&](size_t, const SealedLayer&, const FetchedRanges::value_type& blob, bool) {
    Shares shares;
    for (const BlobRange& range : blob.second) shares["[" + reason + "]"] += range.end - range.begin;
    blobs.push_back(sorted(blob.first, shares));
  });
  return blobs;
}

}  // namespace obd::ext4
