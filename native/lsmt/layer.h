// What can stand below others in a stack: a sealed layer, or a frozen writable one.
#pragma once
#include <memory>
#include <string>

#include "blob/blob.h"
#include "lsmt/frozen_index.h"

namespace obd {

class Layer {
 public:
  virtual ~Layer() = default;
  // What errors call it.
  virtual const std::string& name() const = 0;
  // Bytes; 0 means "as large as what is below".
  virtual uint64_t virtual_size() const = 0;
  // 8-4-4-4-12 hex, zeros when not known. Informational: no reader checks it.
  virtual const std::string& uuid() const = 0;
  virtual const std::string& parent_uuid() const = 0;
  // The LSMT file, uncompressed: segment.moffset counts sectors of it.
  virtual std::shared_ptr<Blob> data() const = 0;
  // Which sectors of the disk this layer maps. A writable layer must be frozen.
  virtual std::shared_ptr<const FrozenIndex> index() const = 0;
};

}  // namespace obd
