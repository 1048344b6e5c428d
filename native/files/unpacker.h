// Creates the entries of a tar archive inside a root.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "files/make_dirs.h"
#include "files/root.h"
#include "files/tar_reader.h"
#include "files/task.h"

namespace obd::files {

enum class UnpackMode {
  layer,    // an OCI layer: whiteouts take away, the root's own entry is ignored
  archive,  // a user's archive (ADD): every name is a name
};

struct UnpackOptions {
  UnpackMode mode = UnpackMode::layer;
  std::optional<Owner> owner;  // of everything, instead of the archive's
};

// Names and links are taken inside the root, symlinked parents included. What is there already is replaced,
// except that a directory over a directory keeps its entries and takes the new metadata.
class Unpacker {
 public:
  Unpacker(const Root& root, const UnpackOptions& options, Task& task)
      : root_(root), options_(options), task_(task) {}

  // Reads the archive to its end. Throws FormatError for a broken layer; FsError for a user's broken archive, in
  // BuildKit's words, and for what cannot be made.
  void run(TarReader& reader);
  uint64_t entries() const { return entries_; }

 private:
  void unpack(TarReader& reader);

  // An open directory and its resolved path.
  struct Parent {
    std::string asked, path;
    Fd dir;
  };

  void entry(const TarEntry& entry, TarReader& reader);
  bool leads_nowhere(const std::string& dir) const;
  Parent& parent_of(const std::string& dir, const std::string& entry_path);
  bool whiteout(const std::string& base, Parent& parent);
  void remove_lower(int dirfd, const std::string& name, const std::string& path);
  void hide_lower(Fd dir, const std::string& path);
  void clear(Parent& parent, const std::string& base, const std::string& path);
  void make_file(const TarEntry& entry, TarReader& reader, Parent& parent, const std::string& base, const std::string& path);
  void make_link(const TarEntry& entry, Parent& parent, const std::string& base, const std::string& path);
  void metadata(const TarEntry& entry, int dirfd, const std::string& base, const std::string& path);
  void remember(std::string path);

  const Root& root_;
  const UnpackOptions& options_;
  Task& task_;
  Parent parent_;
  std::unordered_set<std::string> unpacked_;                  // layer mode: what this layer brought, and above
  std::vector<std::pair<std::string, int64_t>> directories_;  // mtimes to set at the end
  uint64_t entries_ = 0;
};

}  // namespace obd::files
