// SCSI commands of the TCMU server: what they ask for, what is refused and how, and the pages Linux reads.
#include "device/scsi.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>

#include "device/scsi_bytes.h"

using namespace obd::scsi;
using Kind = Request::Kind;
using Cdb = std::array<uint8_t, kCdbSize>;

namespace {

const Disk kDisk{1 << 20, true, "0123456789abcdef"};
const Disk kReadOnly{1 << 20, false, "0123456789abcdef"};

Cdb cdb(std::initializer_list<int> bytes) {
  Cdb result{};
  size_t i = 0;
  for (const int byte : bytes) result[i++] = static_cast<uint8_t>(byte);
  return result;
}

Cdb rw16(uint8_t opcode, uint64_t block, uint32_t count, uint8_t flags = 0) {
  Cdb result = cdb({opcode, flags});
  put_be<uint64_t>(&result[2], block);
  put_be<uint32_t>(&result[10], count);
  return result;
}

Cdb rw10(uint8_t opcode, uint32_t block, uint16_t count, uint8_t flags = 0) {
  Cdb result = cdb({opcode, flags});
  put_be<uint32_t>(&result[2], block);
  put_be<uint16_t>(&result[7], count);
  return result;
}

Request run(const Cdb& command, const Disk& disk = kDisk) { return parse(command.data(), disk); }

void refused(const Cdb& command, const Sense& sense, const Disk& disk = kDisk) {
  const Request request = run(command, disk);
  CAPTURE(int(command[0]));
  CHECK(request.kind == Kind::refuse);
  CHECK(request.sense.key == sense.key);
  CHECK(request.sense.code == sense.code);
  CHECK(request.sense.qualifier == sense.qualifier);
}

}  // namespace

TEST_CASE("scsi: reads and writes of every length of command") {
  struct Case {
    Cdb command;
    Kind kind;
    uint64_t offset, count;
  };
  const Case cases[] = {
      {cdb({0x08, 0x01, 0x02, 0x03, 2}), Kind::read, 0x10203ull * 512, 1024},
      {cdb({0x08, 0xe0, 0x00, 0x01, 0}), Kind::read, 512, 256 * 512},  // upper bits are no address; 0 is 256
      {cdb({0x0a, 0x00, 0x00, 0x07, 1}), Kind::write, 7 * 512, 512},
      {rw10(0x28, 5, 8), Kind::read, 5 * 512, 8 * 512},
      {rw10(0x2a, 5, 8), Kind::write, 5 * 512, 8 * 512},
      {cdb({0xa8, 0, 0, 0, 0, 9, 0, 0, 0, 3}), Kind::read, 9 * 512, 3 * 512},
      {cdb({0xaa, 0, 0, 0, 0, 9, 0, 0, 0, 3}), Kind::write, 9 * 512, 3 * 512},
      {rw16(0x88, (1 << 20) - 1, 1), Kind::read, ((1ull << 20) - 1) * 512, 512},
      {rw16(0x8a, 0, 2048), Kind::write, 0, kMaxTransfer},
      {rw10(0x2a, 5, 8, 0x18), Kind::write, 5 * 512, 8 * 512},  // DPO and FUA
  };
  for (const Case& c : cases) {
    const Request request = run(c.command);
    CAPTURE(int(c.command[0]));
    CHECK(request.kind == c.kind);
    CHECK(request.offset == c.offset);
    CHECK(request.count == c.count);
  }
}

TEST_CASE("scsi: ranges that leave the disk, and lengths of zero") {
  for (const uint8_t opcode : {0x88, 0x8a}) {
    CHECK(run(rw16(opcode, 0, 0)).kind == Kind::good);
    CHECK(run(rw16(opcode, 1 << 20, 0)).kind == Kind::good);  // the end is no block, but nothing is asked of it
    refused(rw16(opcode, (1 << 20) + 1, 0), kOutOfRange);
    refused(rw16(opcode, 1 << 20, 1), kOutOfRange);
    refused(rw16(opcode, (1 << 20) - 1, 2), kOutOfRange);
    refused(rw16(opcode, UINT64_MAX, 2), kOutOfRange);
    refused(rw16(opcode, UINT64_MAX, UINT32_MAX), kOutOfRange);
    refused(rw16(opcode, 0, 2049), kInvalidField);  // more than the block limits page allows
    refused(rw16(opcode, 0, 1, 0x20), kInvalidField);  // protection information
  }
  refused(cdb({0x91, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}), kOutOfRange);
  CHECK(run(rw16(0x91, 0, 0)).kind == Kind::flush);
  CHECK(run(rw10(0x35, 8, 8)).kind == Kind::flush);
}

TEST_CASE("scsi: a read-only disk takes no change") {
  for (const Cdb& command : {cdb({0x0a, 0, 0, 0, 1}), rw10(0x2a, 0, 1), rw16(0x8a, 0, 1), rw10(0x41, 0, 1, 8), rw16(0x93, 0, 1, 8), cdb({0x42})}) {
    refused(command, kWriteProtected, kReadOnly);
  }
  CHECK(run(rw10(0x28, 0, 1), kReadOnly).kind == Kind::read);
  CHECK((run(cdb({0x1a, 0, 0x3f, 0, 255}), kReadOnly).data[2] & 0x80) == 0x80);
  CHECK((run(cdb({0x1a, 0, 0x3f, 0, 255})).data[2] & 0x80) == 0);
}

TEST_CASE("scsi: WRITE SAME") {
  Request request = run(rw16(0x93, 8, 16, 0x08));
  CHECK(request.kind == Kind::write_same);
  CHECK(request.offset == 8 * 512);
  CHECK(request.count == 16 * 512);
  CHECK_FALSE(request.zeroes);
  CHECK(run(rw16(0x93, 8, 16, 0x09)).zeroes);  // no data sent
  CHECK(run(rw10(0x41, 8, 16, 0x08)).kind == Kind::write_same);
  CHECK(run(rw16(0x93, 8, 16)).kind == Kind::write_same);
  refused(rw10(0x41, 8, 16, 0x09), kInvalidField);  // WRITE SAME(10) has no such bit
  refused(rw16(0x93, 8, 16, 0x18), kInvalidField);  // anchor
  refused(rw16(0x93, 8, 16, 0x28), kInvalidField);
  refused(rw16(0x93, 8, 0, 0x08), kInvalidField);
  refused(rw16(0x93, 1 << 20, 1, 0x08), kOutOfRange);
  const Disk huge{uint64_t{1} << 32, true, "0"};
  refused(rw16(0x93, 0, kMaxZeroBlocks + 1, 0x08), kInvalidField, huge);
  CHECK(run(rw16(0x93, 0, kMaxZeroBlocks, 0x08), huge).count == uint64_t{kMaxZeroBlocks} * 512);
}

TEST_CASE("scsi: UNMAP lists") {
  std::vector<Range> ranges;
  Sense sense;
  const auto list = [](std::vector<std::pair<uint64_t, uint32_t>> entries, size_t claimed = SIZE_MAX) {
    std::vector<uint8_t> bytes(8 + entries.size() * 16);
    const size_t length = claimed == SIZE_MAX ? entries.size() * 16 : claimed;
    put_be<uint16_t>(&bytes[0], static_cast<uint16_t>(length + 6));
    put_be<uint16_t>(&bytes[2], static_cast<uint16_t>(length));
    for (size_t i = 0; i < entries.size(); ++i) {
      put_be<uint64_t>(&bytes[8 + i * 16], entries[i].first);
      put_be<uint32_t>(&bytes[16 + i * 16], entries[i].second);
    }
    return bytes;
  };
  const auto parsed = [&](const std::vector<uint8_t>& bytes) { return parse_unmap(bytes.data(), bytes.size(), kDisk, ranges, sense); };

  REQUIRE(parsed(list({{8, 16}, {100, 0}, {1 << 19, 1}})));
  REQUIRE(ranges.size() == 2);
  CHECK(ranges[0].offset == 8 * 512);
  CHECK(ranges[0].count == 16 * 512);
  CHECK(ranges[1].offset == (1ull << 19) * 512);

  CHECK(parsed({}));
  CHECK(ranges.empty());
  CHECK(parsed(list({})));
  CHECK(parsed(list({{8, 16}, {9, 9}}, 20)));  // an incomplete descriptor is ignored
  CHECK(ranges.size() == 1);

  CHECK_FALSE(parsed(std::vector<uint8_t>(7)));
  CHECK(sense.code == 0x1a);
  CHECK_FALSE(parsed(list({{8, 16}}, 32)));  // claims more than was sent
  CHECK(sense.code == 0x1a);
  CHECK_FALSE(parsed(list({{(1 << 20) - 1, 2}})));
  CHECK(sense.code == 0x21);
  CHECK_FALSE(parsed(list({{UINT64_MAX, UINT32_MAX}})));
  CHECK(sense.code == 0x21);
  CHECK_FALSE(parsed(list(std::vector<std::pair<uint64_t, uint32_t>>(kMaxUnmapDescriptors + 1, {0, 1}))));
  CHECK(sense.code == 0x26);
  refused(cdb({0x42, 1}), kInvalidField);
}

TEST_CASE("scsi: what Linux reads of a new disk") {
  const Request standard = run(cdb({0x12, 0, 0, 0, 36}));
  REQUIRE(standard.data.size() == 36);
  CHECK(standard.data[4] == 31);
  CHECK(std::string(standard.data.begin() + 8, standard.data.begin() + 16) == "OBD     ");
  CHECK(run(cdb({0x12, 0, 0, 0, 5})).data.size() == 5);  // cut to what was allocated
  refused(cdb({0x12, 0, 1, 0, 36}), kInvalidField);      // a page without the bit for it

  const Request pages = run(cdb({0x12, 1, 0, 0, 255}));
  for (size_t i = 4; i < pages.data.size(); ++i) {
    const Request page = run(cdb({0x12, 1, pages.data[i], 0, 255}));
    CHECK(page.kind == Kind::data_in);
    CHECK(page.data[1] == pages.data[i]);
    CHECK(page.data.size() == 4u + get_be<uint16_t>(&page.data[2]));
  }
  refused(cdb({0x12, 1, 0xc0, 0, 255}), kInvalidField);

  const Request limits = run(cdb({0x12, 1, 0xb0, 0, 255}));
  CHECK(get_be<uint32_t>(&limits.data[8]) == kMaxTransfer / kBlock);
  CHECK(get_be<uint32_t>(&limits.data[20]) == kMaxZeroBlocks);
  CHECK(get_be<uint32_t>(&limits.data[24]) == kMaxUnmapDescriptors);
  CHECK(get_be<uint64_t>(&limits.data[36]) == kMaxZeroBlocks);
  CHECK(run(cdb({0x12, 1, 0xb2, 0, 255})).data[5] == 0xe4);

  const Request capacity = run(cdb({0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32}));
  REQUIRE(capacity.data.size() == 32);
  CHECK(get_be<uint64_t>(&capacity.data[0]) == (1 << 20) - 1);
  CHECK(get_be<uint32_t>(&capacity.data[8]) == 512);
  CHECK((capacity.data[14] & 0x80) == 0x80);
  CHECK(get_be<uint32_t>(&run(cdb({0x25})).data[0]) == (1 << 20) - 1);
  const Disk huge{uint64_t{1} << 40, true, "0"};
  CHECK(get_be<uint32_t>(&run(cdb({0x25}), huge).data[0]) == UINT32_MAX);
  refused(cdb({0x25, 0, 0, 0, 0, 1}), kInvalidField);
  refused(cdb({0x9e, 0x11}), kInvalidField);

  const Request caching = run(cdb({0x5a, 0, 0x08, 0, 0, 0, 0, 0, 255}));
  REQUIRE(caching.data.size() == 28);
  CHECK(caching.data[8] == 0x08);
  CHECK((caching.data[10] & 0x04) == 0x04);                                      // write cache
  CHECK(run(cdb({0x5a, 0, 0x48, 0, 0, 0, 0, 0, 255})).data[10] == 0);             // which cannot be changed
  refused(cdb({0x1a, 0, 0xc8, 0, 255}), kSavingNotSupported);
  refused(cdb({0x1a, 0, 0x1c, 0, 255}), kInvalidField);
  CHECK(run(cdb({0x1a, 0, 0x3f, 0, 255})).data.size() == 4 + 20 + 12);
  CHECK(run(cdb({0x03, 0, 0, 0, 18})).data.size() == kSenseSize);
  CHECK(run(cdb({0x00})).kind == Kind::good);
}

TEST_CASE("scsi: every other command is refused as unknown, and no block of bytes is too strange") {
  for (const uint8_t opcode : {0x04, 0x15, 0x2e, 0x2f, 0x55, 0x7f, 0x89, 0xa0, 0xc0, 0xff}) refused(cdb({opcode}), kInvalidOpcode);
  std::mt19937 random(1);
  for (int i = 0; i < 200000; ++i) {
    Cdb command;
    for (uint8_t& byte : command) byte = static_cast<uint8_t>(random());
    const Request request = run(command);
    if (request.kind == Kind::read || request.kind == Kind::write || request.kind == Kind::write_same) {
      CHECK(request.count > 0);
      CHECK(request.offset + request.count <= kDisk.blocks * kBlock);
    }
    if (request.kind == Kind::refuse) CHECK(request.sense.key != 0);
    std::vector<Range> ranges;
    Sense sense;
    parse_unmap(command.data(), command.size(), kDisk, ranges, sense);
  }
}

TEST_CASE("scsi: sense data") {
  uint8_t sense[kSenseSize];
  std::memset(sense, 0xff, sizeof sense);
  encode_sense(kOutOfRange, sense);
  CHECK(sense[0] == 0x70);
  CHECK(sense[2] == 5);
  CHECK(sense[7] == 10);
  CHECK(sense[12] == 0x21);
  CHECK(std::all_of(sense + 14, sense + kSenseSize, [](uint8_t byte) { return byte == 0; }));
}
