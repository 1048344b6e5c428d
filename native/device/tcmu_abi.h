// The layout of the memory that TCMU shares with its server (the kernel's linux/target_core_user.h, which is
// no valid C++).
#pragma once
#include <cstddef>
#include <cstdint>

namespace obd::tcmu {

constexpr uint16_t kVersion = 2;
constexpr uint16_t kAnyOrder = 1 << 0;  // Mailbox::flags: answers may come in any order

struct Mailbox {
  uint16_t version;
  uint16_t flags;
  uint32_t ring_offset;  // from the mailbox, bytes
  uint32_t ring_size;
  uint32_t head;               // the kernel adds entries here
  alignas(64) uint32_t tail;   // up to here they are answered
};

// The first bytes of an entry.
struct Header {
  static constexpr uint32_t kOperation = 7;  // of length_and_operation; the rest is the length
  static constexpr uint32_t kCommand = 1;    // others are padding and notices
  static constexpr uint8_t kReadLength = 2;  // answer_flags: Answer::read_length counts

  uint32_t length_and_operation;
  uint16_t id;
  uint8_t kernel_flags;
  uint8_t answer_flags;

  uint32_t length() const { return length_and_operation & ~kOperation; }
  bool is_command() const { return (length_and_operation & kOperation) == kCommand; }
};

// What follows in a command: this, then `parts` of Part.
struct Command {
  uint32_t parts, bidirectional_parts, protection_parts;
  uint32_t padding;
  uint64_t cdb_offset;  // from the mailbox
  uint64_t unused[2];
};
struct Part {
  uint64_t offset;  // from the mailbox
  uint64_t size;
};

// What follows in an answer.
struct Answer {
  static constexpr size_t kSenseSize = 96;
  uint8_t status;
  uint8_t unused[3];
  uint32_t read_length;
  uint8_t sense[kSenseSize];
};

constexpr size_t kBody = sizeof(Header), kParts = kBody + sizeof(Command);
static_assert(kBody == 8 && kParts == 48 && sizeof(Answer) == 104, "the kernel's layout");

}  // namespace obd::tcmu
