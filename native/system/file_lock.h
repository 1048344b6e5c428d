// An exclusive flock(2) on a file: free again when its holder lets go or dies.
#pragma once
#include <optional>
#include <string>

#include "system/unique_fd.h"

namespace obd {

// Creates the file when it is not there. The descriptor holds the lock; nullopt when another holds it.
// Throws std::system_error.
std::optional<UniqueFd> try_lock_file(const std::string& path);

}  // namespace obd
