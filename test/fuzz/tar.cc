// Tar archives: v7, ustar, pax, GNU.
#include <algorithm>

#include "error.h"
#include "files/tar_reader.h"

using namespace obd;

namespace {

// Pieces of odd sizes, as a stream has them.
class Pieces : public files::ByteSource {
 public:
  Pieces(const char* data, size_t size) : rest_(data, size) {}
  std::string_view next() override {
    const std::string_view piece = rest_.substr(0, 700);
    rest_.remove_prefix(piece.size());
    return piece;
  }

 private:
  std::string_view rest_;
};

// The checksums of headers, so that they are believed.
void repair(std::string& bytes) {
  for (size_t at = 0; at + 512 <= bytes.size(); at += 512) {
    if (bytes.compare(at + 257, 5, "ustar") != 0) continue;
    std::fill_n(bytes.begin() + static_cast<long>(at) + 148, 8, ' ');
    unsigned sum = 0;
    for (size_t i = 0; i < 512; ++i) sum += static_cast<unsigned char>(bytes[at + i]);
    char text[8];
    std::snprintf(text, sizeof text, "%06o", sum & 0777777);
    bytes.replace(at + 148, 7, text, 7);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size % 4 != 0) repair(bytes);
  Pieces source(bytes.data(), bytes.size());
  files::TarReader reader(source);
  try {
    files::TarEntry entry;
    for (int entries = 0; entries < 10000 && reader.next(entry); ++entries) {
      while (!reader.data().empty()) {
      }
    }
    reader.drain();
  } catch (const FormatError&) {
  }
  return 0;
}
