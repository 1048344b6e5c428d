#include "device/fuse_protocol.h"

#include <doctest/doctest.h>
#include <linux/falloc.h>

#include <cerrno>
#include <random>
#include <string>

namespace obd::fuse {
namespace {

constexpr uint64_t kDisk = 1 << 20;

template <typename Body>
std::string message(uint32_t opcode, const Body& body, const std::string& data = "") {
  fuse_in_header header{};
  header.len = static_cast<uint32_t>(sizeof(header) + sizeof(body) + data.size());
  header.opcode = opcode;
  header.unique = 7;
  header.nodeid = FUSE_ROOT_ID;
  return std::string(reinterpret_cast<const char*>(&header), sizeof(header)) +
         std::string(reinterpret_cast<const char*>(&body), sizeof(body)) + data;
}

template <typename Body>
Request request(std::string& storage, uint32_t opcode, const Body& body, const std::string& data = "") {
  storage = message(opcode, body, data);
  const std::optional<Request> parsed = parse_request(storage.data(), storage.size());
  REQUIRE(parsed);
  return *parsed;
}

fuse_read_in read_at(uint64_t offset, uint32_t size) {
  fuse_read_in in{};
  in.offset = offset;
  in.size = size;
  return in;
}

fuse_write_in write_at(uint64_t offset, uint32_t size) {
  fuse_write_in in{};
  in.offset = offset;
  in.size = size;
  return in;
}

fuse_fallocate_in allocate(uint64_t offset, uint64_t length, uint32_t mode) {
  fuse_fallocate_in in{};
  in.offset = offset;
  in.length = length;
  in.mode = mode;
  return in;
}

constexpr uint32_t kPunch = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

TEST_CASE("a message that is not one whole request is refused") {
  const std::string whole = message(FUSE_READ, read_at(0, 512));
  CHECK(parse_request(whole.data(), whole.size()));
  for (size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(parse_request(whole.data(), size));
  const std::string longer = whole + "x";
  CHECK_FALSE(parse_request(longer.data(), longer.size()));
}

TEST_CASE("reads are cut off at the end of the disk") {
  std::string s;
  auto range = parse_read(request(s, FUSE_READ, read_at(kDisk - 4096, 8192)), kDisk);
  REQUIRE(range);
  CHECK(range->offset == kDisk - 4096);
  CHECK(range->size == 4096);
  range = parse_read(request(s, FUSE_READ, read_at(kDisk, 4096)), kDisk);
  REQUIRE(range);
  CHECK(range->size == 0);
  range = parse_read(request(s, FUSE_READ, read_at(~uint64_t{511}, 4096)), kDisk);
  REQUIRE(range);
  CHECK(range->size == 0);
}

TEST_CASE("reads that are too long, or not of whole sectors, are malformed") {
  std::string s;
  CHECK_FALSE(parse_read(request(s, FUSE_READ, read_at(0, kMaxTransfer + 512)), uint64_t{1} << 40));
  CHECK_FALSE(parse_read(request(s, FUSE_READ, read_at(1, 512)), kDisk));
  CHECK_FALSE(parse_read(request(s, FUSE_READ, read_at(0, 100)), kDisk));
  CHECK_FALSE(parse_read(request(s, FUSE_READ, uint64_t{0}), kDisk));
}

TEST_CASE("writes carry their data and stay inside the disk") {
  std::string s;
  const std::string data(1024, 'd');
  const auto range = parse_write(request(s, FUSE_WRITE, write_at(512, 1024), data), kDisk);
  REQUIRE(range);
  CHECK(range->offset == 512);
  CHECK(std::string(static_cast<const char*>(range->data), range->size) == data);
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, write_at(0, 2048), data), kDisk));
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, write_at(kDisk - 512, 1024), data), kDisk));
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, write_at(~uint64_t{511}, 1024), data), kDisk));
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, write_at(3, 1024), data), kDisk));
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, write_at(0, 1000), data), kDisk));
  CHECK_FALSE(parse_write(request(s, FUSE_WRITE, uint32_t{0}), kDisk));
}

TEST_CASE("punched and zeroed ranges shrink to whole sectors of the disk") {
  std::string s;
  auto zero = parse_fallocate(request(s, FUSE_FALLOCATE, allocate(1024, 4096, kPunch)), kDisk);
  CHECK(zero.error == 0);
  CHECK(zero.range.offset == 1024);
  CHECK(zero.range.size == 4096);
  zero = parse_fallocate(request(s, FUSE_FALLOCATE, allocate(1000, 4096, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE)), kDisk);
  CHECK(zero.range.offset == 1024);
  CHECK(zero.range.size == 3584);
  zero = parse_fallocate(request(s, FUSE_FALLOCATE, allocate(1, 100, kPunch)), kDisk);
  CHECK(zero.error == 0);
  CHECK(zero.range.size == 0);
  zero = parse_fallocate(request(s, FUSE_FALLOCATE, allocate(kDisk - 512, ~uint64_t{0}, kPunch)), kDisk);
  CHECK(zero.error == 0);
  CHECK(zero.range.size == 512);
  CHECK(parse_fallocate(request(s, FUSE_FALLOCATE, allocate(kDisk + 512, 512, kPunch)), kDisk).error == EINVAL);
  CHECK(parse_fallocate(request(s, FUSE_FALLOCATE, allocate(0, 512, 0)), kDisk).error == EOPNOTSUPP);
  CHECK(parse_fallocate(request(s, FUSE_FALLOCATE, allocate(0, 512, FALLOC_FL_COLLAPSE_RANGE)), kDisk).error == EOPNOTSUPP);
  CHECK(parse_fallocate(request(s, FUSE_FALLOCATE, uint32_t{0}), kDisk).error == EINVAL);
}

TEST_CASE("INIT agrees on the older of the two versions") {
  std::string s;
  fuse_init_in in{};
  in.major = FUSE_KERNEL_VERSION;
  in.minor = FUSE_KERNEL_MINOR_VERSION + 5;
  in.flags = FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE | FUSE_MAX_PAGES | FUSE_BIG_WRITES;
  auto out = answer_init(request(s, FUSE_INIT, in));
  REQUIRE(out);
  CHECK(out->minor == FUSE_KERNEL_MINOR_VERSION);
  CHECK(out->flags == (FUSE_ASYNC_DIO | FUSE_MAX_PAGES | FUSE_BIG_WRITES));
  CHECK(out->max_write == kMaxTransfer);
  in.minor = 31;
  out = answer_init(request(s, FUSE_INIT, in));
  REQUIRE(out);
  CHECK(out->minor == 31);
  in.minor = 30;
  CHECK_FALSE(answer_init(request(s, FUSE_INIT, in)));
  in.major = FUSE_KERNEL_VERSION + 1;
  out = answer_init(request(s, FUSE_INIT, in));
  REQUIRE(out);
  CHECK(out->major == FUSE_KERNEL_VERSION);
  in.major = FUSE_KERNEL_VERSION - 1;
  CHECK_FALSE(answer_init(request(s, FUSE_INIT, in)));
  CHECK_FALSE(answer_init(request(s, FUSE_INIT, uint64_t{7})));
}

TEST_CASE("random bytes never get past the checks") {
  std::mt19937_64 random(20261121);
  for (int round = 0; round < 20000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& c : bytes) c = static_cast<char>(random() % 4 == 0 ? random() : 0);
    if (bytes.size() >= 4 && random() % 8 != 0) {
      const auto size = static_cast<uint32_t>(bytes.size());
      __builtin_memcpy(bytes.data(), &size, sizeof(size));
    }
    // Exactly as large as the message, so that ASan sees a read beyond it.
    const std::string exact(bytes.data(), bytes.size());
    const std::optional<Request> parsed = parse_request(exact.data(), exact.size());
    if (!parsed) continue;
    if (const auto read = parse_read(*parsed, kDisk)) CHECK((read->size == 0 || read->offset + read->size <= kDisk));
    if (const auto write = parse_write(*parsed, kDisk)) {
      CHECK(write->offset + write->size <= kDisk);
      std::string copy(static_cast<const char*>(write->data), write->size);
    }
    const ZeroRequest zero = parse_fallocate(*parsed, kDisk);
    if (zero.error == 0 && zero.range.size > 0) CHECK(zero.range.offset + zero.range.size <= kDisk);
    answer_init(*parsed);
  }
}

}  // namespace
}  // namespace obd::fuse
