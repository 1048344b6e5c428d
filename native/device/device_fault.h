// A block request that failed, as told to whoever wants to know.
#pragma once
#include <cstdint>
#include <exception>
#include <functional>

namespace obd {

// Told about every request that failed, from a serving or completion thread: what was asked, and why.
struct DeviceFault {
  const char* operation;  // "read", "write", "discard", "flush"
  uint64_t offset;        // of the disk, bytes
  uint64_t length;
  std::exception_ptr error;
};
using FaultListener = std::function<void(const DeviceFault&)>;

// What the kernel is told: ENOSPC as it is, which file systems treat in a way of its own, all else EIO.
int errno_of(const std::exception_ptr& error);

}  // namespace obd
