// Parts of the ZFile: checksum, jump table, header, random access, writing on many threads.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "blob/local_blob.h"
#include "blob/new_file.h"
#include "error.h"
#include "layer_support.h"
#include "zfile/codec.h"
#include "zfile/crc32c.h"
#include "zfile/jump_table.h"
#include "zfile/payload.h"
#include "zfile/zfile.h"

using namespace obd;
using namespace obd::test;

TEST_CASE("CRC-32C is the raw register") {
  // The usual CRC-32C of "123456789" is e3069283: with both complements.
  CHECK(~crc32c_raw("123456789", 9, 0xffffffff) == 0xe3069283);
  CHECK(crc32c_raw("", 0, 77) == 77);
  Random random(1);
  const std::string bytes = some_bytes(random, 1000, false);
  for (size_t cut : {size_t{0}, size_t{1}, size_t{7}, size_t{8}, size_t{333}, size_t{1000}}) {
    CHECK(crc32c_raw(bytes.data() + cut, 1000 - cut, crc32c_raw(bytes.data(), cut, 5)) == crc32c_raw(bytes.data(), 1000, 5));
  }
  // However it is computed: bit by bit it is the same, for every length up to some stripes and for some long ones.
  const std::string many = some_bytes(random, 100000, false);
  const auto bit_by_bit = [](const char* p, size_t count, uint32_t crc) {
    for (; count > 0; count--, p++) {
      crc ^= static_cast<unsigned char>(*p);
      for (int bit = 0; bit < 8; bit++) crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78 : 0);
    }
    return crc;
  };
  for (size_t count = 0; count < 100000; count += count < 500 ? 1 : count / 3) {
    const char* const from = many.data() + count % 8 * (count < 90000);
    const uint32_t expected = bit_by_bit(from, count, 7);
    CHECK(crc32c_raw(from, count, 7) == expected);
    CHECK(crc32c_raw_portable(from, count, 7) == expected);
  }
  // The constant digests of trailer-style headers (FORMATS.md 1.2).
  ZFileHeader h;
  h.flags = 0x13;
  char block[512];
  bool ok;
  encode_zfile_header(h, block);
  CHECK(decode_zfile_header(block, ok).digest == 0xc7a212fc);
  CHECK(ok);
  h.block_size = 65536;
  encode_zfile_header(h, block);
  CHECK(decode_zfile_header(block, ok).digest == 0x18e20656);
  block[300] ^= 1;
  decode_zfile_header(block, ok);
  CHECK_FALSE(ok);
}

TEST_CASE("a jump table gives every offset in under 3 bytes a block") {
  for (const uint32_t block_size : {512u, 4096u, 8192u, 32768u, 65536u}) {
    CAPTURE(block_size);
    JumpTable table(512, block_size);
    Random random(block_size);
    std::vector<uint64_t> offsets{512};
    const uint32_t worst = block_size + block_size / 255 + 20;
    for (int i = 0; i < 100000; i++) {
      const uint32_t length = i % 1000 < 500 ? worst : 5 + static_cast<uint32_t>(random.below(worst - 5));
      table.append(length);
      offsets.push_back(offsets.back() + length);
    }
    table.shrink_to_fit();
    CHECK(table.blocks() == 100000);
    bool same = true;
    for (size_t i = 0; i < offsets.size(); i++) same &= table.offset(i) == offsets[i];
    CHECK(same);
    if (block_size == 4096) CHECK(table.memory() < 3 * 100000);
  }
}

TEST_CASE("any range of a ZFile reads as in the plain file") {
  TempDir dir;
  Random random(4);
  const std::string plain = some_bytes(random, 700000, true) + some_bytes(random, 500123, false) + std::string(300000, '\0');
  write_file(dir.file("plain"), plain);
  for (const uint32_t block_size : {4096u, 32768u}) {
    for (const auto algorithm : {ZFileAlgorithm::lz4, ZFileAlgorithm::zstd}) {
      ZFileOptions options;
      options.block_size = block_size;
      options.algorithm = algorithm;
      compress_file(dir.file("plain"), dir.file("zfile"), options, false);
      std::shared_ptr<ZFile> file;
      Misses none;
      ZFile::try_open(std::make_shared<LocalBlob>(dir.file("zfile")), file, none);
      REQUIRE(bool(file));
      CHECK(file->size() == plain.size());
      for (int i = 0; i < 300; i++) {
        const size_t offset = random.below(plain.size()), longest = i % 10 == 0 ? plain.size() : 20000;
        const size_t count = random.below(std::min(longest, plain.size() - offset) + 1);
        std::string bytes(count, 'x');
        REQUIRE(file->try_read(bytes.data(), count, offset, none));
        REQUIRE(bytes == plain.substr(offset, count));
      }
      std::string whole(plain.size(), 'x');
      file->try_read(whole.data(), whole.size(), 0, none);
      CHECK(whole == plain);
      CHECK_THROWS_AS(file->try_read(whole.data(), 2, plain.size() - 1, none), FormatError);
      CHECK_THROWS_AS(file->try_read(whole.data(), 1, UINT64_MAX, none), FormatError);
    }
  }
}

TEST_CASE("a ZFile without block checksums is read") {
  const std::string plain(6000, 'a');
  std::string bytes(512, '\0');
  std::string index;
  for (size_t at = 0; at < plain.size(); at += 4096) {
    const size_t n = std::min<size_t>(4096, plain.size() - at);
    std::string stored(compress_bound(ZFileAlgorithm::lz4, n), '\0');
    const auto length = static_cast<uint32_t>(
        thread_codec(ZFileAlgorithm::lz4).compress(plain.data() + at, n, stored.data(), stored.size()));
    bytes.append(stored, 0, length);
    index.append(reinterpret_cast<const char*>(&length), sizeof length);
  }
  ZFileHeader h;
  h.flags = ZFileHeader::kIsHeader | ZFileHeader::kDataFile | ZFileHeader::kCompleted;
  h.index_offset = bytes.size();
  h.block_count = 2;
  h.original_size = plain.size();
  h.verify = 0;
  encode_zfile_header(h, bytes.data());
  std::shared_ptr<ZFile> file;
  Misses none;
  ZFile::try_open(std::make_shared<MemoryBlob>(bytes + index + std::string(512, '\0')), file, none);
  REQUIRE(bool(file));
  std::string out(plain.size(), 'x');
  CHECK(file->try_read(out.data(), out.size(), 0, none));
  CHECK(out == plain);
}

TEST_CASE("the number of threads changes nothing in the file") {
  TempDir dir;
  Random random(8);
  write_file(dir.file("plain"), some_bytes(random, 3000000, true) + some_bytes(random, 2000001, false));
  ZFileOptions options;
  compress_file(dir.file("plain"), dir.file("one"), options, true);
  for (unsigned threads : {2u, 3u, 16u}) {
    options.threads = threads;
    compress_file(dir.file("plain"), dir.file("many"), options, true);
    CHECK(read_file(dir.file("many")) == read_file(dir.file("one")));
  }
}

namespace {

// Fails half way.
class FailingSource : public ByteSource {
 public:
  uint64_t size() const override { return 8 << 20; }
  void read(void* buf, size_t count, uint64_t offset) override {
    if (offset > (4 << 20)) throw FormatError("source", offset, "gone");
    std::fill_n(static_cast<char*>(buf), count, 'x');
  }
};

size_t files_in(const TempDir& dir) {
  size_t n = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir.path())) n += entry.exists();
  return n;
}

}  // namespace

TEST_CASE("an error while writing comes out whole, from any thread, and leaves no file") {
  TempDir dir;
  for (unsigned threads : {1u, 4u}) {
    ZFileOptions options;
    options.threads = threads;
    {
      NewFile file(dir.file("out"));
      FailingSource source;
      CHECK_THROWS_AS(write_payload(source, options, true, file), FormatError);
    }
    CHECK(files_in(dir) == 0);
  }
  ZFileOptions options;
  CHECK_THROWS_AS(NewFile(dir.file("no/such/directory")), std::system_error);
  CHECK_THROWS_AS(compress_file(dir.file("missing"), dir.file("out"), options, false), std::system_error);
  options.block_size = 65536;
  CHECK_THROWS_AS(compress_file(golden("payload/text1m.bin"), dir.file("out"), options, false), std::invalid_argument);
  CHECK(files_in(dir) == 0);
}

TEST_CASE("a new file replaces the old one when it is complete, not before") {
  TempDir dir;
  write_file(dir.file("f"), "old");
  {
    NewFile file(dir.file("f"));
    pwrite_full(file.fd(), "new", 3, 0, file.name());
    CHECK(read_file(dir.file("f")) == "old");
    file.keep();
  }
  CHECK(read_file(dir.file("f")) == "new");
  CHECK(files_in(dir) == 1);
}
