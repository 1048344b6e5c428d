// Notes what is read of the layers of a stack, as a trace.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "lsmt/layer.h"
#include "lsmt/trace_file.h"

namespace obd {

class TraceRecorder : public std::enable_shared_from_this<TraceRecorder> {
 public:
  // The layers with their reads noted. What opening each of them has read comes first.
  std::vector<std::shared_ptr<Layer>> watch(const std::vector<std::shared_ptr<Layer>>& layers);
  void add(uint32_t layer, uint64_t offset, uint64_t count);
  std::vector<TraceRecord> records() const;

 private:
  mutable std::mutex mutex_;
  std::vector<TraceRecord> records_;
};

}  // namespace obd
