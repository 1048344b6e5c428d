// The tar wrapping of layer blobs (FORMATS.md 3): finds the payload of the first entry, and writes the
// wrapping byte for byte as overlaybd-commit -t does.
#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "blob/blob.h"

namespace obd {

constexpr uint64_t kTarWrapHead = 1536;  // pax header, pax record, entry header

// Looks at the first blocks of `blob`. Returns false with misses when they are not local yet. Otherwise
// `payload` is the window of the first entry, or `blob` itself when it is not a tar. Throws FormatError
// for a tar whose entry reaches past the end of the blob.
bool try_unwrap_tar(const std::shared_ptr<Blob>& blob, std::shared_ptr<Blob>& payload, Misses& misses);

// The 1536 bytes in front of a payload of `payload_size` bytes.
std::string tar_wrap_head(uint64_t payload_size);
// The number of zero bytes after it.
uint64_t tar_wrap_tail(uint64_t payload_size);

}  // namespace obd
