// A layer blob that is finished: tar wrapping and ZFile are detected, LSMT is required (FORMATS.md 0). That
// of a turboOCI layer holds the file system's metadata alone; its tags direct reads of file contents to the
// tar of the ordinary layer it was made of (6.1).
#pragma once
#include <memory>

#include "blob/blob.h"
#include "blob/joined_blob.h"
#include "lsmt/layer.h"
#include "lsmt/lsmt_format.h"
#include "zfile/zfile.h"

namespace obd {

class SealedLayer : public Layer {
 public:
  // Reads headers, trailers and indexes of `blob`, nothing else. Returns null with the extents to fetch
  // when some of these are not local: fetch them and call again (a handful of rounds at most). Throws
  // FormatError when the blob is not a layer or is damaged.
  static std::shared_ptr<SealedLayer> try_open(const std::shared_ptr<Blob>& blob, Misses& misses);
  // The same for the metadata of a turboOCI layer; `target` is the ordinary layer's tar.
  static std::shared_ptr<SealedLayer> try_open_on(const std::shared_ptr<Blob>& target, const std::shared_ptr<Blob>& blob,
                                                  Misses& misses);
  // The same for a blob in a registry: begins at its end, which says where everything else is, and leaves the
  // headers alone when that is a ZFile's.
  static std::shared_ptr<SealedLayer> try_open_from_tail(const std::shared_ptr<Blob>& blob, Misses& misses);
  // For blobs that never miss.
  static std::shared_ptr<SealedLayer> open(const std::shared_ptr<Blob>& blob);

  const std::string& name() const override { return blob_->name(); }
  uint64_t virtual_size() const override { return trailer_.virtual_size; }
  const std::string& uuid() const override { return trailer_.uuid; }
  const std::string& parent_uuid() const override { return trailer_.parent_uuid; }
  // With the target behind it, if there is one.
  std::shared_ptr<Blob> data() const override { return joined_ ? joined_ : content_; }
  std::shared_ptr<const FrozenIndex> index() const override { return index_; }

  // The trailer's fields; a sealed layer's header has no index fields. The header is empty when it was left alone.
  const LsmtHeader& trailer() const { return trailer_; }
  const LsmtHeader& header() const { return header_; }
  // Records on disk, padding included, and how many of them are padding.
  uint64_t records() const { return trailer_.index_size; }
  uint64_t padding_records() const { return trailer_.index_size - index_->size(); }
  // Null when the layer is not compressed.
  const std::shared_ptr<ZFile>& zfile() const { return zfile_; }
  // The blob itself, and its payload: the same unless it is tar-wrapped.
  const std::shared_ptr<Blob>& blob() const { return blob_; }
  const std::shared_ptr<Blob>& payload() const { return payload_; }
  // The LSMT file, without a target.
  const std::shared_ptr<Blob>& content() const { return content_; }
  // Null unless it is a turboOCI layer.
  const std::shared_ptr<Blob>& target() const { return target_; }
  // Where the target begins in data(), bytes.
  uint64_t target_begin() const { return joined_ ? joined_->second_begin() : 0; }

 private:
  SealedLayer() = default;
  bool try_read_head(Misses& misses);
  bool try_load_content(Misses& misses);
  bool try_load_index(Misses& misses);
  Segment segment_of(const LsmtRecord& record, bool in_target) const;

  std::shared_ptr<Blob> blob_, payload_, content_, target_;
  std::shared_ptr<JoinedBlob> joined_;
  std::shared_ptr<ZFile> zfile_;
  LsmtHeader header_, trailer_;
  std::shared_ptr<const FrozenIndex> index_;
};

}  // namespace obd
