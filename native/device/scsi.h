// A disk in the words of SCSI (SPC-4, SBC-3): what a command descriptor block asks for, and the answers that
// need no data of the disk. Blocks are 512 bytes.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace obd::scsi {

constexpr uint64_t kBlock = 512;
constexpr size_t kCdbSize = 16;
// Bytes of one read or write: what the block limits page says.
constexpr uint64_t kMaxTransfer = 1 << 20;
// Blocks of one WRITE SAME or of one UNMAP descriptor: about 4 GiB.
constexpr uint32_t kMaxZeroBlocks = 0x7fffff;
constexpr uint16_t kMaxUnmapDescriptors = 256;

struct Sense {
  uint8_t key = 0, code = 0, qualifier = 0;
};
constexpr Sense kInvalidOpcode{5, 0x20, 0};
constexpr Sense kOutOfRange{5, 0x21, 0};
constexpr Sense kInvalidField{5, 0x24, 0};
constexpr Sense kInvalidParameter{5, 0x26, 0};
constexpr Sense kParameterListLength{5, 0x1a, 0};
constexpr Sense kSavingNotSupported{5, 0x39, 0};
constexpr Sense kWriteProtected{7, 0x27, 0};
constexpr Sense kSpaceAllocationFailed{7, 0x27, 7};  // Linux: ENOSPC
constexpr Sense kReadError{3, 0x11, 0};
constexpr Sense kWriteError{3, 0x0c, 0};

// The bytes of it, in fixed format.
constexpr size_t kSenseSize = 18;
void encode_sense(const Sense& sense, uint8_t* out);

// What answers depend on.
struct Disk {
  uint64_t blocks;
  bool writable;
  std::string serial;  // hex digits; tells this disk from others
};

struct Request {
  enum class Kind {
    good,        // nothing to do
    refuse,      // `sense`
    data_in,     // `data`
    read,        // `offset`, `count`
    write,       // `offset`, `count`
    write_same,  // `offset`, `count`, `zeroes`; without `zeroes` the data sent is one block of content
    unmap,       // the data sent is a list: parse_unmap
    flush,
  };
  Kind kind = Kind::good;
  Sense sense;
  uint64_t offset = 0, count = 0;  // bytes
  bool zeroes = false;
  std::vector<uint8_t> data;  // cut to what the initiator allocated
};

// `cdb` has kCdbSize bytes. Ranges in the result are inside the disk and, for reads and writes, at most
// kMaxTransfer long.
Request parse(const uint8_t* cdb, const Disk& disk);

struct Range {
  uint64_t offset, count;  // bytes
};
// The parameter list of UNMAP. Returns false, with `sense`, when it is malformed or leaves the disk.
bool parse_unmap(const uint8_t* list, size_t size, const Disk& disk, std::vector<Range>& ranges, Sense& sense);

}  // namespace obd::scsi
