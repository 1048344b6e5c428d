#include "device/block_node.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstdlib>
#include <fstream>
#include <memory>

#include "error.h"

namespace obd {
namespace {

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

// The device number that sysfs tells of a device.
dev_t device_number(const std::string& sysfs_directory) {
  std::ifstream file(sysfs_directory + "/dev");
  unsigned major = 0, minor = 0;
  char colon = 0;
  if (!(file >> major >> colon >> minor)) throw_errno("read " + sysfs_directory + "/dev", ENODEV);
  return makedev(major, minor);
}

std::string ensure_node(const std::string& name, const std::string& sysfs_directory, mode_t type) {
  const dev_t device = device_number(sysfs_directory);
  std::string path = "/dev/" + name;
  struct stat found {};
  if (::stat(path.c_str(), &found) == 0 && (found.st_mode & S_IFMT) == type && found.st_rdev == device) return path;
  ::unlink(path.c_str());  // of another device that had the name before
  if (::mknod(path.c_str(), type | 0600, device) != 0 && errno != EEXIST) throw_errno("mknod " + path);
  return path;
}

// True when a descriptor of the process leads to the device. Processes that end meanwhile have none.
bool has_open(const std::string& process, dev_t device) {
  const std::string directory = "/proc/" + process + "/fd";
  const Directory descriptors(::opendir(directory.c_str()), ::closedir);
  if (!descriptors) return false;
  while (const dirent* entry = ::readdir(descriptors.get())) {
    if (entry->d_name[0] == '.') continue;
    struct statx found {};
    // Nothing is asked of a file system that might not answer.
    if (::statx(::dirfd(descriptors.get()), entry->d_name, AT_STATX_DONT_SYNC, STATX_TYPE, &found) != 0) continue;
    if (S_ISBLK(found.stx_mode) && makedev(found.stx_rdev_major, found.stx_rdev_minor) == device) return true;
  }
  return false;
}

bool open_in_another_process(dev_t device) {
  const Directory processes(::opendir("/proc"), ::closedir);
  if (!processes) throw_errno("open /proc");
  const std::string self = std::to_string(::getpid());
  while (const dirent* entry = ::readdir(processes.get())) {
    if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || self == entry->d_name) continue;
    if (has_open(entry->d_name, device)) return true;
  }
  return false;
}

}  // namespace

std::string block_node(const std::string& name) { return ensure_node(name, "/sys/class/block/" + name, S_IFBLK); }

std::string char_node(const std::string& device_class, const std::string& name) {
  return ensure_node(name, "/sys/class/" + device_class + "/" + name, S_IFCHR);
}

std::optional<UniqueFd> claim_block_device(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  if (!fd) {
    if (errno == EBUSY) return std::nullopt;
    throw_errno("open " + path);
  }
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) throw_errno("stat " + path);
  if (open_in_another_process(status.st_rdev)) return std::nullopt;
  return fd;
}

}  // namespace obd
