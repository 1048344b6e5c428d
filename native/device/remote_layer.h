// Opens a layer that is in a registry: two requests and little more than its index, or none when the block
// cache has these.
#pragma once
#include <memory>

#include "blob/fetch_manager.h"
#include "blob/remote_blob.h"
#include "lsmt/sealed_layer.h"

namespace obd {

// Waits for what it fetches. From then on the blob's extents are whole compressed blocks, which are checked
// when they come. Throws FetchError, FormatError, std::system_error.
std::shared_ptr<SealedLayer> open_remote_layer(FetchManager& fetches, const std::shared_ptr<RemoteBlob>& blob);

}  // namespace obd
