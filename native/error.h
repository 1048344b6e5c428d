// Errors of the native side. Format errors name the file and the offset, system errors keep errno.
#pragma once
#include <cerrno>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <system_error>

namespace obd {

// The bytes are not what the format says: a bad magic, checksum, range. `what()` names blob and offset.
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& blob, uint64_t offset, const std::string& problem)
      : std::runtime_error(blob + ": " + problem + " (at byte " + std::to_string(offset) + ")") {}
};

// A system call failed. `what` says which and on what, e.g. "open /x".
[[noreturn]] inline void throw_errno(const std::string& what, int err = errno) {
  throw std::system_error(err, std::generic_category(), what);
}

}  // namespace obd
