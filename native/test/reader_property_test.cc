// Properties of the readers, on files made at random and not by our own writers of layers: whatever is a valid ZFile or
// LSMT file reads as its bytes say, in any order of reads, with any part of it still missing; whatever is not is an
// error. The seeds are fixed; OBD_SEED chooses others.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "error.h"
#include "layer_support.h"
#include "lsmt/lsmt_format.h"
#include "lsmt/sealed_layer.h"
#include "lsmt/stack.h"
#include "zfile/payload.h"
#include "zfile/zfile.h"

using namespace obd;
using namespace obd::test;

namespace {

uint64_t first_seed() {
  const char* const chosen = std::getenv("OBD_SEED");
  return chosen ? std::strtoull(chosen, nullptr, 10) : 1;
}

template <typename Property>
void for_seeds(uint64_t count, Property property) {
  for (uint64_t seed = first_seed(); seed < first_seed() + count; seed++) {
    CAPTURE(seed);
    Random random(seed);
    property(random);
  }
}

// Runs of text, noise and zeros.
std::string random_content(Random& random, size_t size) {
  std::string content;
  while (content.size() < size) {
    const size_t run = std::min<size_t>(1 + random.below(40000), size - content.size());
    const uint64_t kind = random.below(3);
    content += kind == 0 ? std::string(run, '\0') : some_bytes(random, run, kind == 1);
  }
  return content;
}

ZFileOptions random_options(Random& random) {
  ZFileOptions options;
  options.block_size = 4096u << random.below(4);
  options.algorithm = random.below(2) == 0 ? ZFileAlgorithm::lz4 : ZFileAlgorithm::zstd;
  options.completed_header = random.below(2) == 0;
  return options;
}

std::string zfile_of(const TempDir& dir, const std::string& plain, const ZFileOptions& options, bool tar) {
  write_file(dir.file("plain"), plain);
  compress_file(dir.file("plain"), dir.file("packed"), options, tar);
  return read_file(dir.file("packed"));
}

template <typename TryOpen>
auto open_fetching(MissingBlob& blob, TryOpen try_open) -> decltype(try_open(std::declval<Misses&>())) {
  for (int round = 0; round < 20; round++) {
    Misses misses;
    if (auto opened = try_open(misses)) return opened;
    REQUIRE(!misses.empty());
    blob.fetch(misses);
  }
  FAIL("opening never ends");
  return nullptr;
}

constexpr uint64_t kSectors = 2048;  // of the disks here

// An LSMT file of records as they are.
std::string lsmt_file(const std::vector<Segment>& records, const std::string& data, Random& random) {
  LsmtHeader header;
  header.virtual_size = kSectors * kSector;
  std::string file(kLsmtHeaderSize, '\0');
  header.flags = LsmtHeader::kIsHeader | LsmtHeader::kDataFile | LsmtHeader::kSealed;
  encode_lsmt_header(header, file.data());
  file += data;
  header.index_offset = file.size();
  const auto add = [&](auto encode) {
    char record[kLsmtRecordSize];
    encode(record);
    file.append(record, sizeof record);
    header.index_size++;
  };
  for (const Segment& s : records) {
    if (random.below(8) == 0) add(encode_lsmt_padding);  // anywhere
    add([&](void* bytes) { encode_lsmt_record(s, bytes); });
  }
  while (header.index_size % 256 != 0) add(encode_lsmt_padding);
  header.flags = LsmtHeader::kDataFile | LsmtHeader::kSealed;
  file.resize(file.size() + kLsmtHeaderSize);
  encode_lsmt_header(header, file.data() + file.size() - kLsmtHeaderSize);
  return file;
}

Segment segment(uint64_t offset, uint64_t length, uint64_t moffset, bool zeroed) {
  Segment s{};
  s.offset = offset;
  s.length = length;
  s.moffset = moffset;
  s.zeroed = zeroed;
  return s;
}

// Records that are in order and inside, pointing anywhere into the data, and done to `disk`.
std::vector<Segment> random_records(Random& random, const std::string& data, std::string& disk) {
  const uint64_t first = kLsmtHeaderSize / kSector, sectors = data.size() / kSector;
  std::vector<Segment> records;
  uint64_t at = random.below(50);
  while (at < kSectors) {
    const bool zeroed = random.below(4) == 0;
    const uint64_t length = std::min({1 + random.below(random.below(5) == 0 ? 300 : 20), kSectors - at, zeroed ? kSectors : sectors});
    const uint64_t moffset = random.below(sectors - (zeroed ? 0 : length) + 1);
    records.push_back(segment(at, length, first + moffset, zeroed));
    disk.replace(at * kSector, length * kSector, zeroed ? std::string(length * kSector, '\0') : data.substr(moffset * kSector, length * kSector));
    at += length + (random.below(2) == 0 ? 0 : random.below(60));
  }
  return records;
}

}  // namespace

TEST_CASE("property: a ZFile reads as the bytes it was made of, wherever one looks first") {
  for_seeds(80, [](Random& random) {
    TempDir dir;
    const std::string plain = random_content(random, 1 + random.below(600000));
    const auto blob = std::make_shared<MissingBlob>(zfile_of(dir, plain, random_options(random), false), 512 + random.below(70000));
    const auto file = open_fetching(*blob, [&](Misses& misses) {
      std::shared_ptr<ZFile> opened;
      return ZFile::try_open(blob, opened, misses) ? opened : nullptr;
    });
    REQUIRE(file->size() == plain.size());
    for (int i = 0; i < 30; i++) {
      const uint64_t offset = random.below(plain.size());
      const size_t count = static_cast<size_t>(1 + random.below(std::min<uint64_t>(plain.size() - offset, 100000)));
      std::string bytes(count, 'x');
      for (int round = 0;; round++) {
        REQUIRE(round < 5);
        Misses misses;
        if (file->try_read(bytes.data(), count, offset, misses)) break;
        blob->fetch(misses);
      }
      REQUIRE(bytes == plain.substr(offset, count));
    }
  });
}

TEST_CASE("property: a stack of any LSMT files, packed in any way, is the disk that their records say") {
  for_seeds(30, [](Random& random) {
    TempDir dir;
    std::string disk(kSectors * kSector, '\0');
    std::vector<std::shared_ptr<MissingBlob>> blobs;
    std::vector<std::shared_ptr<Layer>> layers;
    for (uint64_t n = 1 + random.below(4); n > 0; n--) {
      const std::string data = random_content(random, (1 + random.below(400)) * kSector);
      std::string file = lsmt_file(random_records(random, data, disk), data, random);
      if (random.below(3) != 0) file = zfile_of(dir, file, random_options(random), random.below(2) == 0);
      blobs.push_back(std::make_shared<MissingBlob>(file, 512 + random.below(70000)));
      const bool from_tail = random.below(2) == 0;
      layers.push_back(open_fetching(*blobs.back(), [&](Misses& misses) {
        return from_tail ? SealedLayer::try_open_from_tail(blobs.back(), misses) : SealedLayer::try_open(blobs.back(), misses);
      }));
    }
    Stack stack(layers, nullptr);
    REQUIRE(stack.size() == disk.size());
    for (int i = 0; i < 40; i++) {
      const uint64_t offset = random.below(kSectors), count = 1 + random.below(std::min<uint64_t>(kSectors - offset, 400));
      std::string bytes(count * kSector, 'x');
      for (int round = 0;; round++) {
        REQUIRE(round < 100);
        Misses misses;
        if (stack.try_read(bytes.data(), bytes.size(), offset * kSector, misses)) break;
        for (const auto& blob : blobs) blob->fetch(misses);
      }
      REQUIRE(bytes == disk.substr(offset * kSector, count * kSector));
    }
  });
}

TEST_CASE("property: an index of any records is refused, or is in order and inside its data") {
  int refused = 0, taken = 0;
  for_seeds(500, [&](Random& random) {
    const uint64_t data_sectors = 1 + random.below(40), first = kLsmtHeaderSize / kSector;
    std::vector<Segment> records;
    uint64_t at = 0;
    for (uint64_t n = random.below(6); n > 0; n--) {
      // Mostly right; now and then out of order, too long, or pointing elsewhere.
      const uint64_t length = random.below(12) == 0 ? random.below(Segment::kMaxLength) : 1 + random.below(std::min<uint64_t>(data_sectors, 6));
      const uint64_t offset = random.below(12) == 0 ? random.below(Segment::kMaxOffset) : at + random.below(5);
      const uint64_t moffset = random.below(12) == 0 ? random.below(Segment::kMaxMoffset) : first + random.below(data_sectors);
      records.push_back(segment(offset, length, moffset, random.below(4) == 0));
      at = offset + length;
    }
    const std::string data = some_bytes(random, data_sectors * kSector, false);
    const auto blob = std::make_shared<MemoryBlob>(lsmt_file(records, data, random));
    std::shared_ptr<SealedLayer> layer;
    try {
      layer = SealedLayer::open(blob);
    } catch (const FormatError&) {
      refused++;
      return;
    }
    taken++;
    uint64_t covered = 0;
    for (const Segment& s : layer->index()->segments()) {
      REQUIRE(s.offset >= covered);
      REQUIRE(s.length > 0);
      covered = s.end();
      if (s.zeroed) continue;
      REQUIRE(s.moffset >= first);
      REQUIRE(s.mend() <= first + data_sectors);
    }
    std::string bytes(kSectors * kSector, 'x'), expected(bytes.size(), '\0');
    for (const Segment& s : records) {
      for (uint64_t i = 0; i < s.length && s.offset + i < kSectors; i++) {
        expected.replace((s.offset + i) * kSector, kSector, s.zeroed ? std::string(kSector, '\0') : data.substr((s.moffset + i - first) * kSector, kSector));
      }
    }
    Stack stack({layer}, nullptr);
    Misses none;
    REQUIRE(stack.try_read(bytes.data(), bytes.size(), 0, none));
    REQUIRE(bytes == expected);
  });
  CHECK(refused > 50);
  CHECK(taken > 100);
}

TEST_CASE("property: random bytes behind the magics are an error, or a file like any other") {
  TempDir dir;
  for_seeds(300, [&](Random& random) {
    std::string ignored(kSectors * kSector, '\0');
    const std::string data = random_content(random, 30 * kSector);
    std::string file = lsmt_file(random_records(random, data, ignored), data, random);
    if (random.below(2) == 0) file = zfile_of(dir, file, random_options(random), random.below(2) == 0);
    // One place of random bytes, most often in what describes the rest.
    const size_t length = std::min<size_t>(1 + random.below(200), file.size());
    const size_t end = random.below(2) == 0 ? std::min<size_t>(file.size(), 4096) : file.size();
    const size_t begin = random.below(3) == 0 ? random.below(file.size() - length + 1) : end - std::min(end, length + random.below(std::min<size_t>(end, 1200)));
    for (size_t i = begin; i < std::min(file.size(), begin + length); i++) file[i] = static_cast<char>(random());
    const auto blob = std::make_shared<MemoryBlob>(file);
    try {
      const auto layer = random.below(2) == 0 ? SealedLayer::open(blob) : [&] {
        Misses none;
        return SealedLayer::try_open_from_tail(blob, none);
      }();
      Stack stack({layer}, nullptr);
      std::string bytes(64 * kSector, 'x');
      Misses none;
      for (uint64_t at = 0; at + bytes.size() <= std::min<uint64_t>(stack.size(), 1 << 20); at += bytes.size()) stack.try_read(bytes.data(), bytes.size(), at, none);
    } catch (const FormatError&) {
    }
  });
}
