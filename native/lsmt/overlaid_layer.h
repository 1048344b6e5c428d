// A sealed layer and what was written on it, as one layer.
#pragma once
#include <memory>
#include <string>

#include "blob/joined_blob.h"
#include "lsmt/layer.h"
#include "lsmt/sealed_layer.h"

namespace obd {

class OverlaidLayer : public Layer {
 public:
  // `written` must be frozen, and is not needed afterwards.
  OverlaidLayer(std::shared_ptr<SealedLayer> lower, const Layer& written);

  const std::string& name() const override { return lower_->name(); }
  uint64_t virtual_size() const override { return virtual_size_; }
  const std::string& uuid() const override { return lower_->uuid(); }
  const std::string& parent_uuid() const override { return lower_->parent_uuid(); }
  // The sealed layer's content first: its data is where it is there.
  std::shared_ptr<Blob> data() const override { return data_; }
  std::shared_ptr<const FrozenIndex> index() const override { return index_; }

  // Bytes of the sealed layer's data that are not in use any more, and of all data in use.
  uint64_t dead_bytes() const { return dead_; }
  uint64_t live_bytes() const { return live_; }

 private:
  const std::shared_ptr<SealedLayer> lower_;
  const uint64_t virtual_size_;
  const std::shared_ptr<JoinedBlob> data_;
  std::shared_ptr<const FrozenIndex> index_;
  uint64_t dead_ = 0, live_ = 0;
};

}  // namespace obd
