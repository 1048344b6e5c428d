// What happens to a root file system around a container run: runc makes mount points that the image must
// not keep, and the working directory may have to be made.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace obd::runtime {

struct RootfsState {
  // Of `stubs` and their parents, what does not exist: resolved paths, children before their parents.
  std::vector<std::string> missing;
  // Contents of the files asked for; nothing for one that is missing, no regular file or too large.
  std::vector<std::optional<std::string>> files;
  bool cwd_exists = false;
};

// Looks at `root` before a container starts. `stubs`: paths that will be mount points; with `recursive`
// their missing parents are listed too. `files`: paths to read, each up to 10 MiB. Symlinks are resolved
// inside the root; a path that cannot be resolved is left out. Throws FsError.
RootfsState inspect_rootfs(const std::string& root, const std::vector<std::string>& stubs, bool recursive,
                           const std::vector<std::string>& files, const std::string& cwd);

// Makes a directory and its missing parents with mode 0755 and the given owner. Throws FsError with
// BuildKit's text ("mkdir /f: not a directory").
void make_working_dir(const std::string& root, const std::string& cwd, uint32_t uid, uint32_t gid);

// Removes those of `missing` that are now empty files or empty directories, and gives their parents the
// times back. What cannot be removed stays: a stub is a blemish, not a failure.
void remove_stubs(const std::string& root, const std::vector<std::string>& missing);

}  // namespace obd::runtime
