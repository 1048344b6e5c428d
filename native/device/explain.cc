#include "device/explain.h"

#include "device/parked_read.h"
#include "lsmt/stack.h"

namespace obd {
namespace {

ext4::Base read_base(FetchManager& fetches, const std::vector<std::shared_ptr<Layer>>& layers) {
  try {
    Stack disk(layers, nullptr);
    ext4::FileSystem fs(disk.size(), [&](void* buf, size_t count, uint64_t offset) { read_waiting(fetches, disk, buf, count, offset); });
    return {layers, ext4::FileMap(fs), ""};
  } catch (const std::exception& e) {
    return {layers, std::nullopt, e.what()};
  }
}

}  // namespace

std::vector<ext4::ExplainedBlob> explain_bases(FetchManager& fetches, const std::vector<std::vector<std::shared_ptr<Layer>>>& bases,
                                               const ext4::FetchedRanges& fetched) {
  std::vector<ext4::Base> read;
  for (const auto& layers : bases) {
    if (ext4::is_fetched(layers, fetched)) read.push_back(read_base(fetches, layers));
  }
  return ext4::explain_reads(read, fetched);
}

}  // namespace obd
