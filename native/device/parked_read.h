// A read that met bytes which are not local: it waits for them without holding a thread, and is executed
// again on a completion thread. Every device server uses it.
#pragma once
#include <exception>
#include <functional>
#include <memory>

#include "blob/fetch_manager.h"
#include "device/block_device.h"

namespace obd {

// Called once, with the bytes or with what went wrong.
using ReadReply = std::function<void(const void* data, std::exception_ptr error)>;

// Fetches `misses` (what the first try_read of this range reported), reads again, and replies, from a
// completion thread. Holds `disk` until then.
void park_read(FetchManager& fetches, std::shared_ptr<BlockDevice> disk, uint64_t offset, size_t count,
               const Misses& misses, ReadReply reply);

// Reads and waits for what has to be fetched. Never on a thread that serves a device. Throws FetchError,
// FormatError, std::system_error.
void read_waiting(FetchManager& fetches, BlockDevice& disk, void* buf, size_t count, uint64_t offset);

}  // namespace obd
