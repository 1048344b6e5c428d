// Damaged layers: a clear FormatError or the right bytes, never a crash, a hang, an unbounded allocation.
#include <doctest/doctest.h>

#include <cstring>

#include "blob/tar_entry.h"
#include "error.h"
#include "layer_support.h"
#include "lsmt/commit.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"
#include "zfile/crc32c.h"
#include "zfile/payload.h"
#include "zfile/zfile.h"

using namespace obd;
using namespace obd::test;

namespace {

enum class Result { same, different, error };

// Opens `bytes` as a layer and reads everything it stores.
Result read_layer(const std::string& bytes, const std::string& expected) {
  try {
    const auto layer = SealedLayer::open(std::make_shared<MemoryBlob>(bytes, "damaged"));
    std::string content(layer->data()->size(), '\0');
    Misses none;
    layer->data()->try_read(content.data(), content.size(), 0, none);
    return content == expected ? Result::same : Result::different;
  } catch (const FormatError& e) {
    CHECK(std::string(e.what()).find("damaged: ") == 0);
    return Result::error;
  }
}

// A small layer with data, gaps and zeroed ranges, in the wanted wrapping; `content` is its LSMT file.
std::string small_layer(bool zfile, bool tar, bool zstd, std::string& content) {
  TempDir dir;
  const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 16 << 20, "", "");
  Random random(11);
  for (int i = 0; i < 4; i++) {
    const std::string bytes = some_bytes(random, 4096 * (1 + random.below(2)), i % 3 != 0);
    layer->write(bytes.data(), bytes.size(), static_cast<uint64_t>(i) << 20);
    layer->discard((static_cast<uint64_t>(i) << 20) + 65536, 8192);
  }
  layer->freeze();
  CommitOptions options;
  options.zfile.reset();
  options.tar = false;
  commit(*layer, options, dir.file("plain"));
  content = read_file(dir.file("plain"));
  if (!zfile) return content;
  options.zfile = ZFileOptions{};
  options.tar = tar;
  if (zstd) options.zfile->algorithm = ZFileAlgorithm::zstd;
  commit(*layer, options, dir.file("layer"));
  return read_file(dir.file("layer"));
}

template <typename T>
void poke(std::string& bytes, size_t offset, T value) {
  std::memcpy(&bytes[offset], &value, sizeof value);
}

void expect_error(const std::string& bytes, const std::string& words) {
  try {
    SealedLayer::open(std::make_shared<MemoryBlob>(bytes, "damaged"));
    FAIL("opened, expected: " << words);
  } catch (const FormatError& e) {
    CHECK_MESSAGE(std::string(e.what()).find(words) != std::string::npos, std::string(e.what()));
  }
}

// A plain LSMT file with these index records and `data` sectors of data.
std::string lsmt_file(const std::vector<Segment>& records, uint64_t data_sectors) {
  LsmtHeader h;
  h.virtual_size = 1 << 20;
  h.flags = 7;
  std::string out(4096, '\0');
  encode_lsmt_header(h, out.data());
  out.resize(4096 + data_sectors * 512);
  h.flags = 6;
  h.index_offset = out.size();
  h.index_size = records.size();
  for (const Segment& s : records) {
    out.resize(out.size() + 16);
    encode_lsmt_record(s, &out[out.size() - 16]);
  }
  out.resize(out.size() + 4096);
  encode_lsmt_header(h, &out[out.size() - 4096]);
  return out;
}

Segment segment(uint64_t offset, uint64_t length, uint64_t moffset, bool zeroed = false) {
  Segment s{};
  s.offset = offset;
  s.length = length;
  s.moffset = moffset;
  s.zeroed = zeroed;
  return s;
}

}  // namespace

TEST_CASE("a ZFile with any bit flipped is an error, or reads the same") {
  for (const bool zstd : {false, true}) {
    std::string content;
    const std::string good = small_layer(true, true, zstd, content);
    REQUIRE(read_layer(good, content) == Result::same);
    int errors = 0;
    for (size_t at = 0; at < good.size(); at++) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
      const Result result = read_layer(bad, content);
      CAPTURE(at);
      REQUIRE(result != Result::different);
      errors += result == Result::error;
    }
    // Only the ends of the tar and the unread copy of the trailer may differ unnoticed.
    CHECK(errors > static_cast<int>(good.size() * 7 / 10));
  }
}

TEST_CASE("a damaged ZFile index is noticed when the file is opened") {
  std::string content;
  std::string bytes = small_layer(true, false, false, content);
  bool digest_ok;
  const ZFileHeader h = decode_zfile_header(bytes.data(), digest_ok);
  for (uint64_t at = h.index_offset; at < h.index_offset + h.block_count * 4; at += 4) {
    std::string bad = bytes;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    expect_error(bad, "the index does not match its checksum");
  }
}

TEST_CASE("a trailer-style ZFile with any bit flipped is an error") {
  TempDir dir;
  Random random(2);
  const std::string plain = some_bytes(random, 50000, true);
  write_file(dir.file("plain"), plain);
  ZFileOptions options;
  options.completed_header = false;
  compress_file(dir.file("plain"), dir.file("zfile"), options, false);
  const std::string good = read_file(dir.file("zfile"));
  for (size_t at = 0; at < good.size(); at++) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << (at % 8)));
    CAPTURE(at);
    std::shared_ptr<ZFile> file;
    Misses none;
    bool error = false;
    try {
      ZFile::try_open(std::make_shared<MemoryBlob>(bad), file, none);
      std::string out(plain.size(), '\0');
      if (file) file->try_read(out.data(), out.size(), 0, none);
    } catch (const FormatError&) {
      error = true;
    }
    // Without the header's magic or its "header" flag it is no ZFile at all.
    const bool recognised = at >= 24 && at != 32;
    REQUIRE((error || (!recognised && !file)));
  }
}

TEST_CASE("a plain LSMT file with any bit flipped in its structures does not crash") {
  std::string content;
  small_layer(false, false, false, content);
  int errors = 0;
  for (size_t at = 0; at < content.size() * 8; at += at / 8 < 4096 || at / 8 > content.size() - 8192 ? 1 : 4099) {
    std::string bad = content;
    bad[at / 8] = static_cast<char>(bad[at / 8] ^ (1 << (at % 8)));
    errors += read_layer(bad, content) == Result::error;
  }
  CHECK(errors > 100);
}

TEST_CASE("a layer cut off anywhere is an error") {
  for (const bool zfile : {false, true}) {
    for (const bool tar : {false, true}) {
      std::string content;
      const std::string good = small_layer(zfile, tar, false, content);
      // Of a tar, the padding at the end may be missing.
      const size_t needed = zfile && tar ? good.size() - 1024 - 511 : good.size();
      for (size_t size = 0; size < needed; size += size < 3000 || size > needed - 3000 ? 1 : 97) {
        CAPTURE(size);
        REQUIRE(read_layer(good.substr(0, size), content) == Result::error);
      }
    }
  }
}

TEST_CASE("absurd ZFile fields are refused before anything is allocated for them") {
  std::string content;
  const std::string good = small_layer(true, false, false, content);
  // Without the digest flag the fields are all that can be checked.
  auto with = [&](auto change) {
    std::string bytes = good;
    bool digest_ok;
    ZFileHeader h = decode_zfile_header(bytes.data(), digest_ok);
    h.flags &= ~ZFileHeader::kDigest;
    change(h);
    encode_zfile_header(h, bytes.data());
    return bytes;
  };
  CHECK(read_layer(with([](ZFileHeader&) {}), content) == Result::same);
  expect_error(with([](ZFileHeader& h) { h.block_count = 1ull << 62; }), "absurd number of blocks");
  expect_error(with([](ZFileHeader& h) { h.block_count = 999999999; }), "lies outside the file");
  expect_error(with([](ZFileHeader& h) { h.index_offset = UINT64_MAX - 2; }), "lies outside the file");
  expect_error(with([](ZFileHeader& h) { h.index_offset = 10; }), "lies outside the file");
  expect_error(with([](ZFileHeader& h) { h.original_size = UINT64_MAX; }), "cannot hold");
  expect_error(with([](ZFileHeader& h) { h.original_size = 0; }), "cannot hold");
  expect_error(with([](ZFileHeader& h) { h.block_size = 0; }), "block size 0");
  expect_error(with([](ZFileHeader& h) { h.block_size = 1u << 31; }), "block size");
  expect_error(with([](ZFileHeader& h) { h.block_size = 5000; }), "block size 5000");
  expect_error(with([](ZFileHeader& h) { h.algorithm = 0; }), "unknown compression algorithm 0");
  expect_error(with([](ZFileHeader& h) { h.algorithm = 255; }), "unknown compression algorithm 255");
  expect_error(with([](ZFileHeader& h) { h.use_dict = 1; }), "dictionary");
  expect_error(with([](ZFileHeader& h) { h.dict_size = UINT32_MAX; }), "lies outside the file");

  // Lengths in the index that no codec produces, or that reach past the blocks.
  bool digest_ok;
  const ZFileHeader h = decode_zfile_header(good.data(), digest_ok);
  for (const uint32_t length : {0u, 4u, 0xffffffffu, 5000u}) {
    std::string bytes = with([](ZFileHeader&) {});
    poke(bytes, h.index_offset, length);
    expect_error(bytes, "block 0 cannot be " + std::to_string(length));
  }
  std::string bytes = with([](ZFileHeader&) {});
  for (uint64_t i = 0; i < h.block_count; i++) poke(bytes, h.index_offset + i * 4, 4110u);
  expect_error(bytes, "reach into the index");
}

TEST_CASE("old files with garbage in unused fields are read") {
  // As FORMATS.md 1.7: no digests, stack memory in digest, upper flags, index CRC and the tail.
  TempDir dir;
  std::string content;
  const std::string layer = small_layer(false, false, false, content);
  write_file(dir.file("plain"), layer);
  ZFileOptions options;
  options.completed_header = false;
  compress_file(dir.file("plain"), dir.file("zfile"), options, false);
  std::string bytes = read_file(dir.file("zfile"));
  Random random(9);
  for (const size_t block : {size_t{0}, bytes.size() - 512}) {
    poke(bytes, block + 28, static_cast<uint32_t>(random()));
    poke(bytes, block + 32, (bytes[block + 32] & 7) | 0x7ffea4640b40ull);
    if (block == 0) poke(bytes, 40, random());
    poke(bytes, block + 64, random());
    for (size_t i = 96; i < 512; i++) bytes[block + i] = static_cast<char>(random());
  }
  CHECK(read_layer(bytes, content) == Result::same);
}

TEST_CASE("impossible LSMT records and fields are refused") {
  const uint64_t data = 64;
  const std::string good = lsmt_file({segment(0, 8, 8), segment(8, 8, 16), segment(100, 8, 72, true)}, data);
  REQUIRE(SealedLayer::open(std::make_shared<MemoryBlob>(good))->index()->size() == 3);

  expect_error(lsmt_file({segment(0, 8, 8), segment(7, 8, 16)}, data), "overlaps");
  expect_error(lsmt_file({segment(8, 8, 8), segment(0, 8, 16)}, data), "overlaps");
  expect_error(lsmt_file({segment(0, 0, 8)}, data), "is empty");
  expect_error(lsmt_file({segment(0, 8, 7)}, data), "outside the data");
  expect_error(lsmt_file({segment(0, 8, 65)}, data), "outside the data");
  expect_error(lsmt_file({segment(0, 8, Segment::kMaxMoffset)}, data), "outside the data");
  expect_error(lsmt_file({segment(0, 8, 73, true)}, data), "outside the data");
  expect_error(lsmt_file({segment(Segment::kMaxOffset - 4, 8, 8)}, data), "beyond any disk");

  auto with_trailer = [&](auto change) {
    std::string bytes = good;
    LsmtHeader h = decode_lsmt_header(&bytes[bytes.size() - 4096]);
    change(h);
    encode_lsmt_header(h, &bytes[bytes.size() - 4096]);
    return bytes;
  };
  expect_error(with_trailer([](LsmtHeader& h) { h.index_size = 1000001; }), "at most 1000000");
  expect_error(with_trailer([](LsmtHeader& h) { h.index_size = UINT64_MAX; }), "at most 1000000");
  expect_error(with_trailer([](LsmtHeader& h) { h.index_size = 4; }), "lies outside the file");
  expect_error(with_trailer([](LsmtHeader& h) { h.index_offset = UINT64_MAX - 511; }), "lies outside the file");
  expect_error(with_trailer([](LsmtHeader& h) { h.index_offset = 0; }), "lies outside the file");
  expect_error(with_trailer([](LsmtHeader& h) { h.index_offset += 8; }), "lies outside the file");
  expect_error(with_trailer([](LsmtHeader& h) { h.virtual_size = UINT64_MAX; }), "virtual size");
  expect_error(with_trailer([](LsmtHeader& h) { h.flags = 7; }), "flags");
  expect_error(with_trailer([](LsmtHeader& h) { h.flags = 2; }), "flags");
  expect_error(good.substr(0, good.size() - 4096) + std::string(4096, '\0'), "no trailer here");
  expect_error(std::string(10000, 'x'), "not an overlaybd layer");
  expect_error("", "not an overlaybd layer");

  // Padding records are dropped wherever they are.
  std::string padded = lsmt_file({segment(0, 8, 8), segment(0, 0, 0), segment(8, 8, 16)}, data);
  encode_lsmt_padding(&padded[4096 + data * 512 + 16]);
  CHECK(SealedLayer::open(std::make_shared<MemoryBlob>(padded))->index()->size() == 2);
}

TEST_CASE("damaged writable layers are refused") {
  TempDir dir;
  {
    const auto layer = WritableLayer::create(dir.file("d"), dir.file("i"), 160 << 10, "11111111-2222-4333-8444-5555555555aa", "");
    const std::string bytes(4096, 'a');
    for (int i = 0; i < 20; i++) layer->write(bytes.data(), bytes.size(), static_cast<uint64_t>(i) * 8192);
    layer->flush();
  }
  const std::string data = read_file(dir.file("d")), index = read_file(dir.file("i"));
  auto opens = [&](const std::string& d, const std::string& i) {
    write_file(dir.file("d"), d);
    write_file(dir.file("i"), i);
    try {
      Stack stack({WritableLayer::open_frozen(dir.file("d"), dir.file("i"))}, nullptr);
      disk_sha256(stack);
      return true;
    } catch (const FormatError&) {
      return false;
    }
  };
  REQUIRE(opens(data, index));
  CHECK_FALSE(opens("", index));
  CHECK_FALSE(opens(data, ""));
  CHECK_FALSE(opens(data.substr(0, 4095), index));
  CHECK_FALSE(opens(data, index.substr(0, 4095)));
  CHECK_FALSE(opens(index, data));
  CHECK_FALSE(opens(data, data));
  CHECK_FALSE(opens(data.substr(0, data.size() - 1), index));
  std::string other = index;
  other[60] = other[60] == 'A' ? 'B' : 'A';  // the uuid: an index of another layer
  CHECK_FALSE(opens(data, other));
  for (size_t bit = 0; bit < index.size() * 8; bit += bit < 390 * 8 || bit > 4096 * 8 ? 1 : 1000) {
    std::string bad = index;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    opens(data, bad);  // an error or another disk, but no crash
  }
}

TEST_CASE("tar headers: what is no layer tar is not taken for one, and sizes are believed only if they fit") {
  std::string content;
  const std::string good = small_layer(true, true, false, content);
  const std::string payload = good.substr(1536, good.size() - 1536 - tar_wrap_tail(0));
  auto checksum = [](std::string& bytes) {
    std::memset(&bytes[148], ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < 512; i++) sum += static_cast<unsigned char>(bytes[i]);
    std::snprintf(&bytes[148], 8, "%06o", sum);
  };
  // What Go's tar writer makes: one ustar header, octal size.
  std::string go(512, '\0');
  std::memcpy(&go[0], "overlaybd.commit", 16);
  std::snprintf(&go[124], 12, "%011o", static_cast<unsigned>(payload.size()));
  std::memcpy(&go[257], "ustar\0" "00", 8);
  go[156] = '0';
  checksum(go);
  CHECK(read_layer(go + payload + std::string(2048, '\0'), content) == Result::same);

  std::string gnu = go;
  std::memcpy(&gnu[257], "ustar  ", 8);
  checksum(gnu);
  expect_error(gnu + payload, "not an overlaybd layer");

  std::string huge = go;
  std::memcpy(&huge[124], "77777777777", 11);
  checksum(huge);
  expect_error(huge + payload, "truncated");

  // pax records that are none: the octal size counts, which is 0 here.
  for (const std::string record : {"99999999 size=5\n", "0 size=5\n", "x", "12 size=", "11 size=-1\n"}) {
    std::string bytes = good;
    std::memset(&bytes[512], 0, 512);
    std::memcpy(&bytes[512], record.data(), record.size());
    expect_error(bytes, "");
  }
  std::string bytes = good;
  std::memcpy(&bytes[512], "31 size=18446744073709551615\n", 29);
  expect_error(bytes, "");
}
