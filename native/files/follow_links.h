// Which paths a copy of the given paths needs, symlinks and all: fsutil's FollowLinks.
#pragma once
#include <string>
#include <vector>

#include "files/root.h"

namespace obd::files {

// The paths (relative, sorted) themselves, every symlink on the way to them, and what those lead to.
// Wildcards are kept as patterns. Empty when the root itself is among them: no filter, then.
std::vector<std::string> follow_links(const Root& root, const std::vector<std::string>& paths);

// Drops what lies below an earlier path of the list. Empty when "." is in it.
std::vector<std::string> drop_nested(const std::vector<std::string>& paths);

}  // namespace obd::files
