// A layer on local disk, opened for reading, whichever kind it is.
#pragma once
#include <memory>
#include <string>

#include "lsmt/layer.h"

namespace obd {

// A sealed blob, a writable layer's pair of files when there is an index file, or a turboOCI layer's archive
// when there is a target.
struct LayerFiles {
  std::string path;
  std::string index = "";   // empty for a blob
  std::string target = "";  // the ordinary layer that a turboOCI layer points into
};

// Throws FormatError when it is not a layer or is damaged, std::system_error.
std::shared_ptr<Layer> open_local_layer(const LayerFiles& files);

}  // namespace obd
