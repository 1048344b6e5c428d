// Layer blobs: tar wrapping, ZFile or none, LSMT; opened from the front and, as from a registry, from the tail.
#include "lsmt/sealed_layer.h"

#include "lsmt/stack.h"
#include "support.h"

using namespace obd;

namespace {

void read(const std::shared_ptr<SealedLayer>& layer) {
  if (!layer) return;
  Stack stack({layer}, nullptr);
  constexpr uint64_t kEnough = 4 << 20;
  std::string buf(128 << 10, '\0');
  for (uint64_t at = 0; at + buf.size() <= stack.size() && at < kEnough; at += buf.size()) {
    Misses misses;
    stack.try_read(buf.data(), buf.size(), at, misses);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size % 4 != 0) {
    const size_t start = size >= 1536 + kZFileHeaderSize && has_zfile_magic(bytes.data() + 1536) ? 1536 : 0;
    fuzz::repair_zfile(bytes, start, bytes.size());
  }
  const auto blob = std::make_shared<fuzz::MemoryBlob>(bytes);
  for (const auto open : {SealedLayer::try_open, SealedLayer::try_open_from_tail}) {
    try {
      Misses misses;
      read(open(blob, misses));
    } catch (const FormatError&) {
    }
  }
  return 0;
}
