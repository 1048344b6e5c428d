#include "system/loop_device.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cstring>
#include <memory>

#include "error.h"

namespace obd {
namespace {

constexpr unsigned kLoopMajor = 7;
// Other programs take free numbers too; each lost race is one round.
constexpr int kAttachRounds = 1000;

std::string loop_path(unsigned number) { return "/dev/loop" + std::to_string(number); }

UniqueFd open_loop(unsigned number, int flags) {
  const std::string path = loop_path(number);
  UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC));
  if (!fd && errno == ENOENT) {
    // A /dev that is no devtmpfs (a container's) does not get the node from the kernel.
    if (::mknod(path.c_str(), S_IFBLK | 0600, makedev(kLoopMajor, number)) != 0 && errno != EEXIST) {
      throw_errno("mknod " + path);
    }
    fd = UniqueFd(::open(path.c_str(), flags | O_CLOEXEC));
  }
  return fd;
}

std::string label_of(const loop_info64& info) {
  const char* name = reinterpret_cast<const char*>(info.lo_file_name);
  return std::string(name, strnlen(name, LO_NAME_SIZE));
}

std::optional<LoopStatus> status_of(int fd, unsigned number) {
  loop_info64 info{};
  if (::ioctl(fd, LOOP_GET_STATUS64, &info) != 0) return std::nullopt;
  return LoopStatus{number, label_of(info)};
}

}  // namespace

std::string LoopDevice::path() const { return loop_path(number_); }

LoopDevice LoopDevice::attach(int file, const Options& options) {
  UniqueFd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
  if (!control) throw_errno("open /dev/loop-control (is the loop module loaded?)");
  loop_config config{};
  config.fd = static_cast<uint32_t>(file);
  config.block_size = options.block_size;
  config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
  if (options.read_only) config.info.lo_flags |= LO_FLAGS_READ_ONLY;
  std::strncpy(reinterpret_cast<char*>(config.info.lo_file_name), options.label.c_str(), LO_NAME_SIZE - 1);

  for (int round = 0; round < kAttachRounds; ++round) {
    const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) throw_errno("get a free loop device");
    UniqueFd loop = open_loop(static_cast<unsigned>(number), options.read_only ? O_RDONLY : O_RDWR);
    if (!loop) {
      if (errno == ENXIO || errno == EBUSY) continue;
      throw_errno("open " + loop_path(static_cast<unsigned>(number)));
    }
    if (::ioctl(loop.get(), LOOP_CONFIGURE, &config) == 0) {
      // Only a hint: every page fault of a program reads that much around it.
      ::ioctl(loop.get(), BLKRASET, static_cast<unsigned long>(options.read_ahead / 512));
      return LoopDevice(std::move(loop), static_cast<unsigned>(number), options.label);
    }
    if (errno != EBUSY) throw_errno("configure " + loop_path(static_cast<unsigned>(number)));
  }
  throw_errno("get a free loop device", EBUSY);
}

bool LoopDevice::try_detach() {
  if (!fd_) return true;
  // The device clears itself on its last close. Whether ours was the last is only known afterwards:
  // a device that is still ours when opened again has other users, and is held as before.
  fd_.reset();
  UniqueFd again = open_loop(number_, O_RDONLY);
  if (!again) return true;
  const std::optional<LoopStatus> status = status_of(again.get(), number_);
  if (!status || status->label != label_) return true;
  fd_ = std::move(again);
  return false;
}

std::vector<LoopStatus> list_loop_devices() {
  std::vector<LoopStatus> found;
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir("/sys/block"), ::closedir);
  if (!dir) throw_errno("open /sys/block");
  while (const dirent* entry = ::readdir(dir.get())) {
    unsigned number = 0;
    int end = 0;
    if (::sscanf(entry->d_name, "loop%u%n", &number, &end) != 1 || entry->d_name[end] != '\0') continue;
    // Opening an autoclear device and closing it again would be its last close: look before in sysfs.
    const std::string backing = std::string("/sys/block/") + entry->d_name + "/loop/backing_file";
    if (::access(backing.c_str(), F_OK) != 0) continue;
    UniqueFd fd = open_loop(number, O_RDONLY);
    if (!fd) continue;
    if (std::optional<LoopStatus> status = status_of(fd.get(), number)) found.push_back(std::move(*status));
  }
  return found;
}

void clear_loop_device(unsigned number) {
  UniqueFd fd = open_loop(number, O_RDONLY);
  if (!fd) {
    if (errno == ENXIO || errno == ENOENT) return;
    throw_errno("open " + loop_path(number));
  }
  if (::ioctl(fd.get(), LOOP_CLR_FD) != 0 && errno != ENXIO) throw_errno("clear " + loop_path(number));
}

}  // namespace obd
