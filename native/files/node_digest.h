// Fills in the content digests of tree nodes, from the stat cache where it knows them, else by reading.
#pragma once
#include <vector>

#include "files/sha256.h"
#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

// Sets `digest` of every node: content (of a regular file) and xattrs. Files are read on all cores.
void digest_nodes(Tree& tree, const std::vector<Node*>& nodes, Task& task);

// Digest of a node that `digest_nodes` has seen: its metadata and content; of a directory, its own alone.
Digest node_digest(const Node& node);

}  // namespace obd::files
