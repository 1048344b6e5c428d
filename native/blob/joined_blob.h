// Two blobs as one: the second begins at the first whole sector after the first, and both end with zeros up
// to a whole sector.
#pragma once
#include <memory>
#include <string>

#include "blob/blob.h"

namespace obd {

class JoinedBlob : public Blob {
 public:
  JoinedBlob(std::shared_ptr<Blob> first, std::shared_ptr<Blob> second);

  uint64_t size() const override { return size_; }
  const std::string& name() const override { return first_->name(); }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses& misses) override;
  uint64_t second_begin() const { return second_begin_; }

 private:
  const std::shared_ptr<Blob> first_, second_;
  const uint64_t second_begin_, size_;
};

}  // namespace obd
