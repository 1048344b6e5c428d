// Trees as tar archives: the layer that leads from one to another, and a whole root.
#pragma once
#include <cstdint>
#include <optional>

#include "files/blob_writer.h"
#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

// Writes the changes from `lower` (null: nothing) to `upper` as an OCI layer, with the entries, order and
// headers of containerd's differ: changed and added entries with the directories they lie in, whiteouts for
// what is gone, hard links, whole-second times not later than `epoch` (seconds), no xattrs but
// security.capability. Sockets are left out.
void write_changeset(Tree* lower, Tree& upper, BlobWriter& out, std::optional<int64_t> epoch, Task& task);

// Writes the same changes to be unpacked over another tree and nothing else: times to the nanosecond, all
// portable xattrs, and of a file with several names only those that changed.
void write_exact_changes(Tree& lower, Tree& upper, BlobWriter& out, Task& task);

// Writes the whole tree as BuildKit's tar exporter does: all xattrs, times rounded to seconds (or all
// `epoch`), sockets as empty files.
void write_root_tar(Tree& tree, BlobWriter& out, std::optional<int64_t> epoch, Task& task);

}  // namespace obd::files
