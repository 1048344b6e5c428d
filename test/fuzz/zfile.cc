// ZFiles: opening, every block, and what the block cache makes of them.
#include "zfile/zfile.h"

#include "blob/extent_layout.h"
#include "support.h"
#include "zfile/stored_blocks.h"

using namespace obd;

namespace {
constexpr uint64_t kMaxPlain = 1 << 20;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size % 4 != 0) fuzz::repair_zfile(bytes, 0, bytes.size());
  try {
    Misses misses;
    std::shared_ptr<ZFile> file;
    if (!ZFile::try_open(std::make_shared<fuzz::MemoryBlob>(bytes), file, misses) || !file) return 0;
    const StoredBlocks blocks(file->header(), file->jump_table(), 0);
    const ExtentLayout layout(bytes.size(), &blocks);
    std::string plain;
    for (uint64_t extent = 0; extent < layout.count(); ++extent) {
      const uint64_t start = layout.start(extent), length = layout.length(extent);
      blocks.check(bytes.data() + start, length, start);
      const BlobRange range = blocks.plain_range({start, start + length});
      if (range.begin == range.end || range.end - range.begin > kMaxPlain) continue;
      plain.resize(range.end - range.begin);
      blocks.decompress(bytes.data() + start, length, start, plain.data());
      const BlobRange stored = blocks.stored_range(range);
      if (stored.begin < start || stored.end > start + length) abort();
    }
    fuzz::read_through(*file);
  } catch (const FormatError&) {
  }
  return 0;
}
