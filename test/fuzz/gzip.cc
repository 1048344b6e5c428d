// Gzip indexes: an index, and the gzip file of the golden turboOCI layer behind it, cut to the size the index
// wants.
#include "gzip/gzip_file.h"

#include <fstream>
#include <iterator>

#include "support.h"

using namespace obd;

namespace {

constexpr size_t kChecksumAt = 329;

std::string golden_gzip() {
  std::ifstream file("../../../testdata/golden/turbo/layer1.tar.gz", std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const std::string gzip = golden_gzip();
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= kChecksumAt + 4) {
    const uint64_t whole = size;
    std::memcpy(bytes.data() + 41, &whole, sizeof whole);
    const uint32_t crc = crc32c_raw(bytes.data(), kChecksumAt, 0);
    std::memcpy(bytes.data() + kChecksumAt, &crc, sizeof crc);
  }
  try {
    GzipIndex index(bytes, "fuzz");
    if (index.gzip_size() > 1 << 20) return 0;
    std::string packed = gzip;
    packed.resize(index.gzip_size());
    GzipFile file(std::make_shared<fuzz::MemoryBlob>(packed), std::move(index));
    fuzz::read_through(file);
  } catch (const FormatError&) {
  }
  return 0;
}
