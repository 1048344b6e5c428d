#include "lsmt/local_layer.h"

#include "blob/local_blob.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/writable_layer.h"

namespace obd {

std::shared_ptr<Layer> open_local_layer(const LayerFiles& files) {
  if (!files.index.empty()) return WritableLayer::open_frozen(files.path, files.index);
  return SealedLayer::open(std::make_shared<LocalBlob>(files.path));
}

}  // namespace obd
