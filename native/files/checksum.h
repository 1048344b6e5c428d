// Cache keys of file selections: one digest that changes when, and only when, a copy of the selection would
// bring something else. As BuildKit's cache/contenthash: path, mode, owner, size, link target, device
// number, xattrs and content count; times do not. The values are our own.
#pragma once
#include <string>
#include <vector>

#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

struct Selection {
  std::string path = "/";
  bool wildcard = false;      // `path` may hold wildcards
  bool follow_links = false;  // a symlink in the last place of `path` stands for its target
  std::vector<std::string> include, exclude;  // patterns relative to what `path` names
  std::vector<std::string> required;          // paths that must be among the selected ones
};

// "sha256:..." of each selection. Content is read once, on all cores, and not at all where the tree's stat
// cache knows it. Throws FsError: with `"/x": not found` (ENOENT) when a path without wildcards, or a
// required one, does not exist.
std::vector<std::string> checksum(Tree& tree, const std::vector<Selection>& selections, Task& task);

// Throws that error unless all required paths are among the selected ones. The caller holds the tree.
void require_paths(Tree& tree, const Selection& selection, Task& task);

}  // namespace obd::files
