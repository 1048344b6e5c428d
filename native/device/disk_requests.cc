#include "device/disk_requests.h"

#include <system_error>

namespace obd {

int DiskRequests::write(const void* buf, size_t count, uint64_t offset) {
  if (!disk_->writable()) return EROFS;
  try {
    disk_->write(buf, count, offset);
    disk_->flush();
    return 0;
  } catch (...) {
    return fail("write", offset, count, std::current_exception());
  }
}

int DiskRequests::discard(uint64_t offset, uint64_t count) {
  if (!disk_->writable()) return EROFS;
  try {
    disk_->discard(offset, count);
    disk_->flush();
    return 0;
  } catch (...) {
    return fail("discard", offset, count, std::current_exception());
  }
}

int DiskRequests::flush() {
  if (!disk_->writable()) return 0;
  try {
    disk_->flush();
    return 0;
  } catch (...) {
    return fail("flush", 0, disk_->size(), std::current_exception());
  }
}

int DiskRequests::fail(const char* operation, uint64_t offset, uint64_t count, const std::exception_ptr& error) {
  on_fault_({operation, offset, count, error});
  return errno_of(error);
}

}  // namespace obd
