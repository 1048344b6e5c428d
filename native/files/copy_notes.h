// What a copy wrote where, so that the next run of the same copy on the same files below can go on from its
// result: it leaves alone what is still right, and takes away what is no longer copied.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "files/root.h"
#include "files/sha256.h"
#include "files/tree.h"
#include "files/xattrs.h"

namespace obd::files {

class CopyNotes {
 public:
  // Notes of a first run.
  CopyNotes() = default;
  // For a run on the result of a former one; `former` is the file its `save` wrote. Throws FsError when it is not.
  explicit CopyNotes(const std::string& former);

  // The copier tells what it does; paths are those of the target, symlinks resolved.

  // A source goes to this place.
  void place(const std::string& source, const std::string& path);
  // Whether what is at the path is what a copy of the file would make of it. If not, `wrote` follows.
  bool keep(const Node& file, const std::string& path);
  // `fresh`: nothing was there.
  void wrote(const Node& file, const std::string& path, bool fresh);
  // A directory was opened, after it was made if need be. Returns whether it counts as made by this copy.
  bool entered(const std::string& path, bool fresh, bool made);
  // A directory gets the metadata of its source, with these.
  void dir_metadata(const std::string& path, const Xattrs& xattrs);

  // Ends a run: removes what only the former one copied. False when that cannot make it what a copy to the files
  // below would be; then the target is worth nothing.
  bool settle(const Root& target);
  // Whether a later run can go on from this one.
  bool sound() const { return sound_; }
  // Writes the notes to a new file.
  struct Saved {
    Digest digest;
    uint64_t size;  // bytes
  };
  Saved save(const std::string& file) const;

 private:
  struct Entry {
    Digest state{};     // of a file: what it was copied from, zeros for never the same; of a directory: what it got
    uint8_t dir = 0, link = 0;
    uint8_t fresh = 0;  // nothing was there before the copy
    uint8_t made = 0;   // of a directory: the first visit made it
    uint32_t path_length = 0;
  };
  const Entry* former(const std::string& path, bool dir);

  bool again_ = false;  // there was a former run
  bool sound_ = true;
  std::map<std::string, Entry> former_, now_;
  Digest former_places_{}, places_{};
  size_t place_count_ = 0;
};

}  // namespace obd::files
