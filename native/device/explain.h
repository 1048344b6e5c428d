// What was fetched of a base, told by the files of its file system.
#pragma once
#include <memory>
#include <vector>

#include "blob/fetch_manager.h"
#include "ext4/explain_reads.h"
#include "lsmt/layer.h"

namespace obd {

// `layers` bottom first: a whole file system; `fetched` by digest. Reads all of the file system's metadata, which may
// have to be fetched for it: waits. When that fails, the reason is in the report.
std::vector<ext4::ExplainedBlob> explain_base(FetchManager& fetches, const std::vector<std::shared_ptr<Layer>>& layers,
                                              const ext4::FetchedRanges& fetched);

}  // namespace obd
