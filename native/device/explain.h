// What was fetched of lazy bases, told by the files of their file systems.
#pragma once
#include <memory>
#include <vector>

#include "blob/fetch_manager.h"
#include "ext4/explain_reads.h"
#include "lsmt/layer.h"

namespace obd {

// Each of `bases` is the layers of a whole file system, bottom first; `fetched` by digest. Reads all metadata of the file
// systems that have part in it, which may have to be fetched for it: waits. When that fails, the reason is in the report.
std::vector<ext4::ExplainedBlob> explain_bases(FetchManager& fetches, const std::vector<std::vector<std::shared_ptr<Layer>>>& bases,
                                               const ext4::FetchedRanges& fetched);

}  // namespace obd
