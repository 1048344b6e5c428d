// Extended attributes of a directory entry, never following a symlink.
#pragma once
#include <string>
#include <utility>
#include <vector>

namespace obd::files {

using Xattrs = std::vector<std::pair<std::string, std::string>>;  // sorted by name; values are raw bytes

// All that can be read of dirfd/name ("" = dirfd itself, which must not be O_PATH). A file system without
// xattrs has none. Throws FsError when the listing fails otherwise.
Xattrs read_xattrs(int dirfd, const std::string& name, const std::string& shown);

// Sets one; returns 0 or the errno.
int set_xattr(int dirfd, const std::string& name, const std::string& key, const std::string& value);

// Gives dirfd/name the portable ones of `xattrs`. What the target's file system or kind of file cannot hold
// is left out, as BuildKit does; no room for them is an error.
void copy_xattrs(const Xattrs& xattrs, int dirfd, const std::string& name, const std::string& shown);

// Whether it describes the file rather than the system it lies on: everything but security.* and system.*,
// and of those the capabilities and the POSIX ACLs. Only these are copied and count in checksums.
bool is_portable_xattr(const std::string& key);

}  // namespace obd::files
