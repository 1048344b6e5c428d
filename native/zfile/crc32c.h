// CRC-32C as overlaybd stores it (FORMATS.md 1.3): the register is used raw, without the initial and
// final complement of the usual CRC-32C.
#pragma once
#include <cstddef>
#include <cstdint>

namespace obd {

// Continues from register value `seed` over `count` bytes and returns the register.
uint32_t crc32c_raw(const void* data, size_t count, uint32_t seed);
// The same on a processor without an instruction for it.
uint32_t crc32c_raw_portable(const void* data, size_t count, uint32_t seed);

}  // namespace obd
