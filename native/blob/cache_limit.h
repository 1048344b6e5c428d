// Keeps the block cache under a size.
#pragma once
#include <cstdint>
#include <string>

namespace obd {

// Removes entries of the cache directory, the longest unused first, until it takes no more than `limit`
// bytes on the disk. One that somebody has open is never removed. Does nothing while another process is at
// it. Returns the bytes it gave back.
uint64_t trim_cache(const std::string& directory, uint64_t limit) noexcept;

}  // namespace obd
