// BuildKit's FileOp: mkdir, mkfile, symlink, rm and copy inside a mounted root.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "files/copier.h"

namespace obd::files {

// All paths are inside the target root. Modes: 0777 bits. Timestamps: nanoseconds since the epoch.
struct MkdirAction {
  std::string path;
  uint32_t mode = 0755;
  bool make_parents = false;
  std::optional<Owner> owner;
  std::optional<int64_t> timestamp;
};
struct MkfileAction {
  std::string path;
  uint32_t mode = 0644;
  std::string data;
  std::optional<Owner> owner;
  std::optional<int64_t> timestamp;
};
struct SymlinkAction {
  std::string old_path;  // what it points to
  std::string new_path;  // where it is made
  std::optional<Owner> owner;
  std::optional<int64_t> timestamp;
};
struct RmAction {
  std::string path;
  bool allow_not_found = false;
  bool allow_wildcard = false;
};
struct CopyAction {
  std::shared_ptr<Tree> source;
  std::string path;  // in the source
  std::string dest;
  bool create_dest_path = false;
  bool allow_wildcard = false;
  bool allow_empty_wildcard = false;
  bool unpack = false;  // a source file that is an archive is unpacked into dest
  std::vector<std::string> required;  // paths of the source that must be among the copied ones
  std::string mode_change;            // symbolic mode, "" = none; wins over options.mode
  CopyOptions options;
};
using FileAction = std::variant<MkdirAction, MkfileAction, SymlinkAction, RmAction, CopyAction>;

// Runs the actions in order; all data is written (not synced) when it returns. Throws FsError with
// BuildKit's texts; what was done until then stays.
void run_file_actions(const std::string& target_root, const std::vector<FileAction>& actions,
                      const std::shared_ptr<Task>& task);

// Runs copies, none of them unpacking, and writes what they did to the new file `notes`. With `former`, the notes of
// an earlier run, the target holds the result of that one, on the same files, and is brought to what these copies
// give; nothing is returned when that cannot be done: the target is worth nothing then, as after an exception.
// `size` is 0, and there is no file, when no later run could go on from this one.
std::optional<CopyNotes::Saved> run_noted_copies(const std::string& target_root, const std::vector<CopyAction>& actions,
                                                 const std::string& former, const std::string& notes,
                                                 const std::shared_ptr<Task>& task);

}  // namespace obd::files
