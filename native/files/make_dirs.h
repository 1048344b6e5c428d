// Directories made on the way to a target, with the owner and time BuildKit gives them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "files/root.h"

namespace obd::files {

struct Owner {
  uint32_t uid, gid;
};

// Sets both times of dirfd/name, not following a symlink. `time`: nanoseconds since the epoch.
void set_times(int dirfd, const std::string& name, int64_t time, const std::string& shown);
// Sets the owner of dirfd/name, not following a symlink.
void set_owner(int dirfd, const std::string& name, Owner owner, const std::string& shown);

// mkdir -p of a resolved path. Those made get `mode`, and owner and time where given; those that were there
// stay as they are. Returns the paths made, outermost first. Throws FsError "mkdir <path>: ...".
std::vector<std::string> make_dirs(const Root& root, const std::string& path, uint32_t mode,
                                   const std::optional<Owner>& owner, const std::optional<int64_t>& time);

}  // namespace obd::files
