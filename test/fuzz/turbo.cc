// TurboOCI layers: the input is an archive, or the metadata in one, on a tar of some bytes; and traces.
#include "lsmt/turbo_layer.h"

#include "lsmt/stack.h"
#include "lsmt/trace_file.h"
#include "support.h"

using namespace obd;

namespace {

void read(const std::shared_ptr<SealedLayer>& layer) {
  if (!layer) return;
  Stack stack({layer}, nullptr);
  std::string buf(128 << 10, '\0');
  for (uint64_t at = 0; at + buf.size() <= std::min<uint64_t>(stack.size(), 4 << 20); at += buf.size()) {
    Misses misses;
    stack.try_read(buf.data(), buf.size(), at, misses);
  }
}

std::string some_tar() {
  std::string tar(64 << 10, 't');
  std::memcpy(&tar[257], "ustar", 5);
  return tar;
}

template <typename Work>
void attempt(Work work) {
  try {
    work();
  } catch (const FormatError&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto tar = std::make_shared<fuzz::MemoryBlob>(some_tar());
  std::string bytes(reinterpret_cast<const char*>(data), size);
  Misses misses;
  attempt([&] { read(try_open_turbo_layer(std::make_shared<fuzz::MemoryBlob>(bytes), "", tar, misses)); });
  fuzz::repair_zfile(bytes, 0, bytes.size());
  attempt([&] { read(SealedLayer::try_open_on(tar, std::make_shared<fuzz::MemoryBlob>(bytes), misses)); });
  attempt([&] { parse_trace(bytes, "fuzz"); });
  return 0;
}
