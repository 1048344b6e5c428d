#include "device/device_fault.h"

#include <cerrno>
#include <system_error>

namespace obd {

int errno_of(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::system_error& e) {
    return e.code().value() == ENOSPC ? ENOSPC : EIO;
  } catch (...) {
    return EIO;
  }
}

}  // namespace obd
