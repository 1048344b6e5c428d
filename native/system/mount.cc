#include "system/mount.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mount.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "error.h"
#include "system/unique_fd.h"

namespace obd {
namespace {

// A child has all of our files open from its start until it runs its program: a mount may be in use that nobody uses.
constexpr int kBusyRounds = 50;
constexpr auto kBusyPause = std::chrono::milliseconds(10);

UniqueFd open_path(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw_errno("open " + path);
  return fd;
}

}  // namespace

void mount_fs(const std::string& source, const std::string& target, const std::string& type, unsigned long flags,
              const std::string& data) {
  const char* type_arg = type.empty() ? nullptr : type.c_str();
  const char* data_arg = data.empty() ? nullptr : data.c_str();
  if (::mount(source.c_str(), target.c_str(), type_arg, flags, data_arg) != 0) {
    throw_errno("mount " + source + " on " + target + (type.empty() ? "" : " (" + type + ")"));
  }
}

void unmount(const std::string& target, bool detach) {
  for (int round = 0; ::umount2(target.c_str(), UMOUNT_NOFOLLOW | (detach ? MNT_DETACH : 0)) != 0; ++round) {
    if (errno != EBUSY || round == kBusyRounds) throw_errno("unmount " + target);
    std::this_thread::sleep_for(kBusyPause);
  }
}

void sync_fs(const std::string& path) {
  const UniqueFd fd = open_path(path);
  if (::syncfs(fd.get()) != 0) throw_errno("syncfs " + path);
}

void freeze_fs(const std::string& path) {
  const UniqueFd fd = open_path(path);
  if (::ioctl(fd.get(), FIFREEZE, 0) != 0) throw_errno("freeze " + path);
}

void thaw_fs(const std::string& path) {
  const UniqueFd fd = open_path(path);
  if (::ioctl(fd.get(), FITHAW, 0) != 0) throw_errno("thaw " + path);
}

}  // namespace obd
