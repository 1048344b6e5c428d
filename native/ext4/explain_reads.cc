#include "ext4/explain_reads.h"

#include <algorithm>
#include <iterator>

#include "blob/local_blob.h"
#include "gzip/gzip_file.h"
#include "lsmt/overlay.h"
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
  std::vector<Segment> merged;
  for (size_t i = 0; i < layers.size(); i++) merged = overlay(layers[i]->index()->segments(), i, merged);
  std::vector<std::vector<Segment>> parts(layers.size());
  for (const Segment& s : stored_parts(merged)) parts[s.source].push_back(s);
  return parts;
}

// A layer as one base shows it.
struct View {
  std::shared_ptr<SealedLayer> layer;
  std::vector<Segment> visible;  // in the order these have in the layer
  std::vector<Segment> own;      // all it has, likewise
  const FileMap* files;
  uint64_t shift;  // from the offsets of what is explained to those of layer->data()
};

std::vector<Segment>::const_iterator first_behind(const std::vector<Segment>& parts, uint64_t begin) {
  return std::partition_point(parts.begin(), parts.end(), [&](const Segment& s) { return s.mend() * kSector <= begin; });
}

// Names parts of a layer's content: as the first base calls them that has a name for them. One that replaced them, or
// whose files have gone, leaves them to the next.
class ContentNames {
 public:
  ContentNames(const std::vector<View>& views, const char* other) : views_(views), other_(other) {}

  // Calls give(to, name) for the parts of [begin, end), ascending: each goes from the end of the last to `to`.
  template <typename Give>
  void each(uint64_t begin, uint64_t end, Give give) const {
    each_from(0, kHidden, begin, end, give);
  }

 private:
  template <typename Give>
  void each_from(size_t number, const char* unseen, uint64_t begin, uint64_t end, Give give) const {
    if (begin >= end) return;
    if (number == views_.size()) return each_unseen(unseen, begin, end, give);
    const View& view = views_[number];
    uint64_t at = begin;
    const auto next_view = [&](uint64_t to, const char* otherwise) {
      each_from(number + 1, otherwise, at, to, give);
      at = std::max(at, to);
    };
    for (auto part = first_behind(view.visible, begin + view.shift); part != view.visible.end(); ++part) {
      const uint64_t from = part->moffset * kSector;
      if (from >= end + view.shift) break;
      next_view(from - std::min(from, view.shift), unseen);
      const uint64_t to = std::min<uint64_t>(end, part->mend() * kSector - view.shift);
      if (to <= at) continue;
      const uint64_t disk = part->offset * kSector + (at + view.shift - from), shift = disk - at;
      view.files->for_each(disk, to + shift, [&](uint64_t first, uint64_t last, const std::string& path) {
        next_view(first - shift, kUnowned);
        give(last - shift, path);
        at = std::max(at, last - shift);
      });
      next_view(to, kUnowned);
    }
    next_view(end, unseen);
  }

  // What no base has a name for: data, or nothing of a disk.
  template <typename Give>
  void each_unseen(const char* unseen, uint64_t begin, uint64_t end, Give give) const {
    const View& view = views_.front();
    for (auto part = first_behind(view.own, begin + view.shift); part != view.own.end() && part->moffset * kSector < end + view.shift; ++part) {
      const uint64_t from = part->moffset * kSector;
      give(from - std::min(from, view.shift), other_);
      give(std::min<uint64_t>(end, part->mend() * kSector - view.shift), unseen);
    }
    give(end, other_);
  }

  const std::vector<View>& views_;
  const char* const other_;  // what there is beside the disk's data
};

// A blob as its bases show it: one of layers, or a target, which such a layer points into.
class BlobExplainer {
 public:
  BlobExplainer(const std::vector<View>& views, bool is_target)
      : layer_(*views.front().layer), is_target_(is_target), names_(views, layer_.target() ? kTar : kFormat) {}

  void add(BlobRange range, Shares& shares) const {
    if (is_target_) add_target(range, shares); else add_own(range, shares);
  }

 private:
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
      add_content(range.begin, range.end, range.end - range.begin, shares);
      return;
    }
    // Which bytes of a piece are behind which of its content cannot be told: all of it counts alike.
    uint64_t explained = 0;
    const GzipIndex& index = gzip->index();
    for (size_t i = 0; i < index.entries().size(); i++) {
      const uint64_t begin = std::max(range.begin, index.entries()[i].packed), end = std::min(range.end, index.packed_end(i));
      if (begin >= end || index.plain_end(i) <= index.entries()[i].plain) continue;
      explained += end - begin;
      add_content(index.entries()[i].plain, index.plain_end(i), end - begin, shares);
    }
    shares[kGzip] += range.end - range.begin - explained;
  }

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

  // Bytes of the content, behind which there are `weight` bytes of the blob.
  void add_content(uint64_t begin, uint64_t end, uint64_t weight, Shares& shares) const {
    if (begin >= end) {
      shares[kFormat] += weight;
      return;
    }
    Dealer dealer(weight, end - begin);
    uint64_t at = begin;
    names_.each(begin, end, [&](uint64_t to, const std::string& name) {
      if (to <= at) return;
      shares[name] += dealer.take(to - at);
      at = to;
    });
  }

  const SealedLayer& layer_;
  const bool is_target_;
  const ContentNames names_;
};

// What is known of a blob of which something was fetched.
struct BlobViews {
  bool is_target = false;
  std::vector<View> views;
  std::string problem;  // of a base that has it and cannot be read
};

void add_base(const Base& base, const FetchedRanges& fetched, std::map<std::string, BlobViews>& blobs) {
  const auto visible = visible_parts(base.layers);
  for (size_t i = 0; i < base.layers.size(); i++) {
    const auto sealed = std::dynamic_pointer_cast<SealedLayer>(base.layers[i]);
    if (!sealed) continue;
    const auto add = [&](const std::string& name, bool is_target) {
      if (fetched.count(name) == 0) return;
      BlobViews& blob = blobs[name];
      blob.is_target = is_target;
      if (!base.files) {
        blob.problem = base.problem;
        return;
      }
      blob.views.push_back({sealed, visible[i], stored_parts(sealed->index()->segments()), &*base.files, is_target ? sealed->target_begin() : 0});
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

bool is_fetched(const std::vector<std::shared_ptr<Layer>>& layers, const FetchedRanges& fetched) {
  return std::any_of(layers.begin(), layers.end(), [&](const std::shared_ptr<Layer>& layer) {
    const auto sealed = std::dynamic_pointer_cast<SealedLayer>(layer);
    return sealed && (fetched.count(sealed->name()) > 0 || (sealed->target() && fetched.count(sealed->target()->name()) > 0));
  });
}

std::vector<ExplainedBlob> explain_reads(const std::vector<Base>& bases, const FetchedRanges& fetched) {
  std::map<std::string, BlobViews> blobs;
  for (const Base& base : bases) add_base(base, fetched, blobs);
  std::vector<ExplainedBlob> explained;
  for (const auto& [digest, blob] : blobs) {
    Shares shares;
    for (const BlobRange& range : fetched.at(digest)) {
      if (blob.views.empty()) shares["[not explained: " + blob.problem + "]"] += range.end - range.begin;
    }
    if (!blob.views.empty()) {
      const BlobExplainer explainer(blob.views, blob.is_target);
      for (const BlobRange& range : fetched.at(digest)) explainer.add(range, shares);
    }
    explained.push_back(sorted(digest, shares));
  }
  return explained;
}

}  // namespace obd::ext4
