#include "lsmt/local_layer.h"

#include "blob/local_blob.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/turbo_layer.h"
#include "lsmt/writable_layer.h"

namespace obd {

std::shared_ptr<Layer> open_local_layer(const LayerFiles& files) {
  if (!files.index.empty()) return WritableLayer::open_frozen(files.path, files.index);
  const auto blob = std::make_shared<LocalBlob>(files.path);
  if (files.target.empty()) return SealedLayer::open(blob);
  Misses none;
  return try_open_turbo_layer(blob, "", std::make_shared<LocalBlob>(files.target), none);
}

}  // namespace obd
