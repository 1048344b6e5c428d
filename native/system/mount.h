// Mount calls. All of them may block on a device: call them from a thread of their own.
#pragma once
#include <string>

namespace obd {

// mount(2). Throws std::system_error that names source, target and type.
void mount_fs(const std::string& source, const std::string& target, const std::string& type, unsigned long flags,
              const std::string& data);

// umount2(2), again for half a second while the target is in use. `detach` takes it out of sight at once and frees it when its last user goes. Throws
// std::system_error; a target that is no mount point (EINVAL) or is gone (ENOENT) is an error too.
void unmount(const std::string& target, bool detach);

// Writes back the file system that holds `path` (syncfs(2)) and reports its write errors.
void sync_fs(const std::string& path);

// Stops (FIFREEZE) and resumes (FITHAW) writers of the file system that holds `path`.
void freeze_fs(const std::string& path);
void thaw_fs(const std::string& path);

}  // namespace obd
