#include "lsmt/overlaid_layer.h"

#include <utility>
#include <vector>

#include "lsmt/overlay.h"

namespace obd {

OverlaidLayer::OverlaidLayer(std::shared_ptr<SealedLayer> lower, const Layer& written)
    : lower_(std::move(lower)),
      virtual_size_(written.virtual_size()),
      data_(std::make_shared<JoinedBlob>(lower_->content(), written.data())) {
  std::vector<Segment> segments = overlay(written.index()->segments(), 1, lower_->index()->segments());
  uint64_t kept = 0;
  for (Segment& s : segments) {
    if (s.zeroed) {
      s.moffset = kLsmtHeaderSize / kSector;
    } else {
      live_ += s.length * kSector;
      if (s.source == 0) kept += s.length * kSector;
      if (s.source == 1) s.moffset = s.moffset + data_->second_begin() / kSector;
    }
    s.source = 0;
  }
  dead_ = lower_->trailer().index_offset - kLsmtHeaderSize - kept;
  index_ = std::make_shared<FrozenIndex>(segments);
}

}  // namespace obd
