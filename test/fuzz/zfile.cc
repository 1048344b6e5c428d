// ZFiles: opening, every block, and what the block cache makes of them.
#include "zfile/zfile.h"

#include "blob/extent_layout.h"
#include "support.h"
#include "zfile/stored_blocks.h"

using namespace obd;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size % 4 != 0) fuzz::repair_zfile(bytes, 0, bytes.size());
  try {
    Misses misses;
    std::shared_ptr<ZFile> file;
    if (!ZFile::try_open(std::make_shared<fuzz::MemoryBlob>(bytes), file, misses) || !file) return 0;
    const StoredBlocks blocks(file->jump_table(), 0, file->header().verify != 0);
    const ExtentLayout layout(bytes.size(), &blocks);
    for (uint64_t extent = 0; extent < layout.count(); ++extent) {
      blocks.check(bytes.data() + layout.start(extent), layout.length(extent), layout.start(extent));
    }
    fuzz::read_through(*file);
  } catch (const FormatError&) {
  }
  return 0;
}
