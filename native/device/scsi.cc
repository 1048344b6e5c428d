#include "device/scsi.h"

#include <cstring>

#include "device/scsi_bytes.h"
#include "device/scsi_pages.h"

namespace obd::scsi {
namespace {

enum Opcode : uint8_t {
  kTestUnitReady = 0x00,
  kRequestSense = 0x03,
  kRead6 = 0x08,
  kWrite6 = 0x0a,
  kInquiry = 0x12,
  kModeSense6 = 0x1a,
  kStartStopUnit = 0x1b,
  kReadCapacity10 = 0x25,
  kRead10 = 0x28,
  kWrite10 = 0x2a,
  kSynchronizeCache10 = 0x35,
  kWriteSame10 = 0x41,
  kUnmap = 0x42,
  kModeSense10 = 0x5a,
  kRead16 = 0x88,
  kWrite16 = 0x8a,
  kSynchronizeCache16 = 0x91,
  kWriteSame16 = 0x93,
  kServiceActionIn16 = 0x9e,
  kRead12 = 0xa8,
  kWrite12 = 0xaa,
};
constexpr uint8_t kReadCapacity16Action = 0x10;

Request refuse(Sense sense) {
  Request request;
  request.kind = Request::Kind::refuse;
  request.sense = sense;
  return request;
}

Request plain(Request::Kind kind) {
  Request request;
  request.kind = kind;
  return request;
}

struct Blocks {
  uint64_t first;
  uint64_t count;
};

bool inside(const Blocks& range, const Disk& disk) {
  return range.first <= disk.blocks && range.count <= disk.blocks - range.first;
}

// READ and WRITE of 6 bytes have 21 bits of address, and 0 means 256 blocks.
Blocks blocks_6(const uint8_t* cdb) {
  return {get_be<uint32_t>(cdb + 1, 3) & 0x1fffff, cdb[4] == 0 ? uint64_t{256} : cdb[4]};
}
Blocks blocks_10(const uint8_t* cdb) { return {get_be<uint32_t>(cdb + 2), get_be<uint16_t>(cdb + 7)}; }
Blocks blocks_12(const uint8_t* cdb) { return {get_be<uint32_t>(cdb + 2), get_be<uint32_t>(cdb + 6)}; }
Blocks blocks_16(const uint8_t* cdb) { return {get_be<uint64_t>(cdb + 2), get_be<uint32_t>(cdb + 10)}; }

Request transfer(Request::Kind kind, const Blocks& range, const Disk& disk) {
  if (kind == Request::Kind::write && !disk.writable) return refuse(kWriteProtected);
  if (!inside(range, disk)) return refuse(kOutOfRange);
  if (range.count > kMaxTransfer / kBlock) return refuse(kInvalidField);
  Request request = plain(range.count == 0 ? Request::Kind::good : kind);
  request.offset = range.first * kBlock;
  request.count = range.count * kBlock;
  return request;
}

// Bits 5 to 7 of byte 1 ask for protection information, which this disk does not have.
Request protected_transfer(Request::Kind kind, const uint8_t* cdb, const Blocks& range, const Disk& disk) {
  if ((cdb[1] & 0xe0) != 0) return refuse(kInvalidField);
  return transfer(kind, range, disk);
}

Request write_same(const uint8_t* cdb, const Blocks& range, bool may_lack_data, const Disk& disk) {
  constexpr uint8_t kProtect = 0xe0, kAnchor = 0x10, kObsolete = 0x06, kNoData = 0x01;
  const uint8_t flags = cdb[1];
  if ((flags & (kProtect | kAnchor | kObsolete)) != 0) return refuse(kInvalidField);
  if ((flags & kNoData) != 0 && !may_lack_data) return refuse(kInvalidField);
  if (!disk.writable) return refuse(kWriteProtected);
  if (!inside(range, disk)) return refuse(kOutOfRange);
  if (range.count == 0 || range.count > kMaxZeroBlocks) return refuse(kInvalidField);
  Request request = plain(Request::Kind::write_same);
  request.offset = range.first * kBlock;
  request.count = range.count * kBlock;
  // The UNMAP bit only allows what zeros get anyway: unmapped blocks read as zeros, so that a block of other
  // content has to be written all the same. The caller looks at it.
  request.zeroes = (flags & kNoData) != 0;
  return request;
}

Request synchronize(const Blocks& range, const Disk& disk) {
  return inside(range, disk) ? plain(Request::Kind::flush) : refuse(kOutOfRange);
}

}  // namespace

void encode_sense(const Sense& sense, uint8_t* out) {
  std::memset(out, 0, kSenseSize);
  out[0] = 0x70;  // of the present command, fixed format
  out[2] = sense.key;
  out[7] = kSenseSize - 8;
  out[12] = sense.code;
  out[13] = sense.qualifier;
}

Request parse(const uint8_t* cdb, const Disk& disk) {
  using Kind = Request::Kind;
  switch (cdb[0]) {
    case kTestUnitReady:
    case kStartStopUnit:
      return plain(Kind::good);
    case kRequestSense:
      return request_sense(cdb);
    case kInquiry:
      return inquiry(cdb, disk);
    case kModeSense6:
      return mode_sense_6(cdb, disk);
    case kModeSense10:
      return mode_sense_10(cdb, disk);
    case kReadCapacity10:
      return read_capacity_10(cdb, disk);
    case kServiceActionIn16:
      return (cdb[1] & 0x1f) == kReadCapacity16Action ? read_capacity_16(cdb, disk) : refuse(kInvalidField);
    case kRead6:
      return transfer(Kind::read, blocks_6(cdb), disk);
    case kWrite6:
      return transfer(Kind::write, blocks_6(cdb), disk);
    case kRead10:
      return protected_transfer(Kind::read, cdb, blocks_10(cdb), disk);
    case kWrite10:
      return protected_transfer(Kind::write, cdb, blocks_10(cdb), disk);
    case kRead12:
      return protected_transfer(Kind::read, cdb, blocks_12(cdb), disk);
    case kWrite12:
      return protected_transfer(Kind::write, cdb, blocks_12(cdb), disk);
    case kRead16:
      return protected_transfer(Kind::read, cdb, blocks_16(cdb), disk);
    case kWrite16:
      return protected_transfer(Kind::write, cdb, blocks_16(cdb), disk);
    case kWriteSame10:
      return write_same(cdb, blocks_10(cdb), false, disk);
    case kWriteSame16:
      return write_same(cdb, blocks_16(cdb), true, disk);
    case kUnmap:
      if ((cdb[1] & 1) != 0) return refuse(kInvalidField);  // anchor
      return disk.writable ? plain(Kind::unmap) : refuse(kWriteProtected);
    case kSynchronizeCache10:
      return synchronize(blocks_10(cdb), disk);
    case kSynchronizeCache16:
      return synchronize(blocks_16(cdb), disk);
    default:
      return refuse(kInvalidOpcode);
  }
}

bool parse_unmap(const uint8_t* list, size_t size, const Disk& disk, std::vector<Range>& ranges, Sense& sense) {
  constexpr size_t kHeader = 8, kDescriptor = 16;
  ranges.clear();
  if (size == 0) return true;  // no list is no error
  sense = kParameterListLength;
  if (size < kHeader) return false;
  const size_t bytes = get_be<uint16_t>(list + 2);  // of descriptors; an incomplete last one is ignored
  if (bytes > size - kHeader) return false;
  sense = kInvalidParameter;
  if (bytes / kDescriptor > kMaxUnmapDescriptors) return false;
  for (size_t at = kHeader; at + kDescriptor <= kHeader + bytes; at += kDescriptor) {
    const Blocks range{get_be<uint64_t>(list + at), get_be<uint32_t>(list + at + 8)};
    if (!inside(range, disk)) {
      sense = kOutOfRange;
      return false;
    }
    if (range.count > kMaxZeroBlocks) return false;
    if (range.count > 0) ranges.push_back({range.first * kBlock, range.count * kBlock});
  }
  return true;
}

}  // namespace obd::scsi
