// Whether an entry is the same in two trees.
#pragma once
#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

// As containerd's continuity/fs compares (type, mode, owner, device, capabilities; of files and links also
// size, mtime and content), but first by what a block-level descendant leaves alone: the same inode with
// the same ctime is the same file. Content decides whenever the rest is equal. Of directories, the
// entries do not count.
bool same_entry(const Tree& lower, const Node& a, const Tree& upper, const Node& b, Task& task);

}  // namespace obd::files
