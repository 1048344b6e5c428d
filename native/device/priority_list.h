// The list of paths that an image's acceleration layer may have instead of a trace (FORMATS.md 7): the files it names
// are fetched before anybody reads them.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "blob/fetch_manager.h"
#include "blob/worker_threads.h"
#include "lsmt/layer.h"

namespace obd {

struct ListedPath {
  std::string path;
  bool whole;  // a directory with everything below it
};

// The paths of a list, a line each; one that ends in "/" or "*" names a directory. Throws FormatError for a list longer
// than the 64 KiB that overlaybd reads.
std::vector<ListedPath> parse_priority_list(const std::string& list, const std::string& name);

// Looks the paths up on the disk that `lowers` make, bottom first, and has their contents fetched. Returns at once; what
// is not there, or cannot be read, its reader will see.
void prefetch_listed(FetchManager& fetches, WorkerThreads& aside, const std::vector<std::shared_ptr<Layer>>& lowers,
                     const std::vector<ListedPath>& paths);

}  // namespace obd
