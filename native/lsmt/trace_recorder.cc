#include "lsmt/trace_recorder.h"

#include "lsmt/lsmt_format.h"
#include "lsmt/sealed_layer.h"

namespace obd {
namespace {

constexpr size_t kMaxRecords = 1 << 20;  // what comes later is no start any more

class WatchedBlob : public Blob {
 public:
  // Reads from `limit` on are not noted: a trace knows no target of a turboOCI layer.
  WatchedBlob(std::shared_ptr<Blob> blob, uint32_t layer, uint64_t limit, std::shared_ptr<TraceRecorder> recorder)
      : blob_(std::move(blob)), layer_(layer), limit_(limit), recorder_(std::move(recorder)) {}

  uint64_t size() const override { return blob_->size(); }
  const std::string& name() const override { return blob_->name(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override {
    if (!blob_->try_read(buf, count, offset, misses)) return false;
    if (count > 0 && offset < limit_) recorder_->add(layer_, offset, count);
    return true;
  }
  bool distrust(uint64_t offset, size_t count, Misses& misses) override { return blob_->distrust(offset, count, misses); }

 private:
  const std::shared_ptr<Blob> blob_;
  const uint32_t layer_;
  const uint64_t limit_;
  const std::shared_ptr<TraceRecorder> recorder_;
};

class WatchedLayer : public Layer {
 public:
  WatchedLayer(std::shared_ptr<Layer> layer, std::shared_ptr<Blob> data) : layer_(std::move(layer)), data_(std::move(data)) {}
  const std::string& name() const override { return layer_->name(); }
  uint64_t virtual_size() const override { return layer_->virtual_size(); }
  const std::string& uuid() const override { return layer_->uuid(); }
  const std::string& parent_uuid() const override { return layer_->parent_uuid(); }
  std::shared_ptr<Blob> data() const override { return data_; }
  std::shared_ptr<const FrozenIndex> index() const override { return layer_->index(); }

 private:
  const std::shared_ptr<Layer> layer_;
  const std::shared_ptr<Blob> data_;
};

}  // namespace

std::vector<std::shared_ptr<Layer>> TraceRecorder::watch(const std::vector<std::shared_ptr<Layer>>& layers) {
  std::vector<std::shared_ptr<Layer>> watched;
  for (uint32_t i = 0; i < layers.size(); i++) {
    uint64_t limit = layers[i]->data()->size();
    if (const auto sealed = std::dynamic_pointer_cast<SealedLayer>(layers[i])) {
      limit = sealed->content()->size();
      add(i, 0, kLsmtHeaderSize);
      add(i, sealed->trailer().index_offset, limit - sealed->trailer().index_offset);
    }
    watched.push_back(std::make_shared<WatchedLayer>(
        layers[i], std::make_shared<WatchedBlob>(layers[i]->data(), i, limit, shared_from_this())));
  }
  return watched;
}

void TraceRecorder::add(uint32_t layer, uint64_t offset, uint64_t count) {
  const std::lock_guard lock(mutex_);
  if (!records_.empty()) {
    TraceRecord& last = records_.back();
    if (last.layer == layer && last.offset + last.count == offset) {
      last.count += count;
      return;
    }
  }
  if (records_.size() < kMaxRecords) records_.push_back({layer, offset, count});
}

std::vector<TraceRecord> TraceRecorder::records() const {
  const std::lock_guard lock(mutex_);
  return records_;
}

}  // namespace obd
