// Bytes in memory as a blob.
#pragma once
#include <cstring>
#include <string>

#include "blob/blob.h"
#include "blob/local_blob.h"

namespace obd {

class BytesBlob : public Blob {
 public:
  BytesBlob(std::string bytes, std::string name) : bytes_(std::move(bytes)), name_(std::move(name)) {}
  uint64_t size() const override { return bytes_.size(); }
  const std::string& name() const override { return name_; }
  bool try_read(void* buf, size_t count, uint64_t offset, Misses&) override {
    check_inside(name_, offset, count, bytes_.size());
    std::memcpy(buf, bytes_.data() + offset, count);
    return true;
  }

 private:
  const std::string bytes_, name_;
};

}  // namespace obd
