// What happens to a root file system around a container run: runc makes mount points that the image must
// not keep, and the working directory may have to be made.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace obd::runtime {

// A place that something will be mounted on.
struct MountPoint {
  std::string path;
  std::string source;  // host path of a bind mount, "" for a file system of its own
};

struct RootfsState {
  // What was made for mount points, in this order: resolved paths.
  std::vector<std::string> stubs;
  // Contents of the files asked for; nothing for one that is missing, no regular file or too large.
  std::vector<std::optional<std::string>> files;
  bool cwd_exists = false;
};

// Readies `root` for a container. Mount points that do not exist are made: an empty file where the source
// is a file, else a directory; missing parents are made too, and listed in `stubs` only with `recursive`
// (without it they stay). Directories keep their times. `files`: paths to read, each up to 10 MiB. Symlinks
// are resolved inside the root; a mount point that cannot be made is left to runc, which says why.
// Throws FsError.
RootfsState prepare_rootfs(const std::string& root, const std::vector<MountPoint>& mount_points, bool recursive,
                           const std::vector<std::string>& files, const std::string& cwd);

// Makes a directory and its missing parents with mode 0755 and the given owner. Throws FsError with
// BuildKit's text ("mkdir /f: not a directory").
void make_working_dir(const std::string& root, const std::string& cwd, uint32_t uid, uint32_t gid);

// Removes those of `stubs` that are (still) empty files or empty directories, last first, and gives their
// parents the times back. What cannot be removed stays: a stub is a blemish, not a failure.
void remove_stubs(const std::string& root, const std::vector<std::string>& stubs);

}  // namespace obd::runtime
