// A loop device over an open file: the block device node that a file served by FUSE gets its users.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "system/unique_fd.h"

namespace obd {

// What LOOP_GET_STATUS64 tells of a bound loop device.
struct LoopStatus {
  unsigned number;
  std::string label;  // the name given at attach, else the backing file's (63 bytes at most)
};

class LoopDevice {
 public:
  struct Options {
    bool read_only = false;
    uint32_t block_size = 512;  // logical block size, bytes
    uint32_t read_ahead = 128 << 10;  // bytes; the kernel's own choice here is megabytes
    std::string label;          // 63 bytes at most; tells whose device it is when its owner is gone
  };

  // Binds a free loop device to `file` with direct I/O, to be cleared by its last close. The file's
  // requests must be answered by other threads: the kernel asks for its size and statfs here.
  // Throws std::system_error.
  static LoopDevice attach(int file, const Options& options);

  unsigned number() const { return number_; }
  std::string path() const;  // "/dev/loopN"

  // Clears the device if nobody else has it open or mounted. False, with the device still up, otherwise.
  bool try_detach();

 private:
  LoopDevice(UniqueFd fd, unsigned number, std::string label)
      : fd_(std::move(fd)), number_(number), label_(std::move(label)) {}
  UniqueFd fd_;
  unsigned number_;
  std::string label_;
};

// All bound loop devices of this host.
std::vector<LoopStatus> list_loop_devices();

// Unbinds loop device `number`; one that is still open goes when its last user closes it. No error when
// it is not bound. Throws std::system_error.
void clear_loop_device(unsigned number);

}  // namespace obd
