// What a remote blob's extents have to respect: where blocks that can be checked by themselves begin.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace obd {

class BlockMap {
 public:
  virtual ~BlockMap() = default;
  // The last offset up to `offset`, and the first from it on, at which no block is cut; `offset` itself outside of the
  // blocks.
  virtual uint64_t align_down(uint64_t offset) const = 0;
  virtual uint64_t align_up(uint64_t offset) const = 0;
  // Checks every block that lies in these bytes of the blob, which begin and end where none is cut. What is
  // wrong with the first bad one; empty when all are good.
  virtual std::string check(const void* data, size_t count, uint64_t offset) const = 0;
};

}  // namespace obd
