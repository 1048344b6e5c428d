// What a thread does first that answers block requests of this machine's own kernel.
#pragma once
#include <string>

namespace obd {

// Names the calling thread (15 characters), blocks all signals, which are the main thread's business, but SIGBUS, and
// tells the kernel that its memory must not come from writing to the very device it serves
// (PR_SET_IO_FLUSHER; without the right to set it, it goes without).
void become_io_thread(const std::string& name) noexcept;

// The same setting for the main thread of the device server: threads started later inherit it.
void set_io_flusher() noexcept;

}  // namespace obd
