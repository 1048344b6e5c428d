#include "device/explain.h"

#include "device/parked_read.h"
#include "lsmt/stack.h"

namespace obd {

std::vector<ext4::ExplainedBlob> explain_base(FetchManager& fetches, const std::vector<std::shared_ptr<Layer>>& layers,
                                              const ext4::FetchedRanges& fetched) {
  if (ext4::unexplained_reads(layers, "", fetched).empty()) return {};
  try {
    Stack disk(layers, nullptr);
    ext4::FileSystem fs(disk.size(), [&](void* buf, size_t count, uint64_t offset) { read_waiting(fetches, disk, buf, count, offset); });
    return ext4::explain_reads(layers, ext4::FileMap(fs), fetched);
  } catch (const std::exception& e) {
    return ext4::unexplained_reads(layers, std::string("not explained: ") + e.what(), fetched);
  }
}

}  // namespace obd
