// Which commands of a TCMU ring have been taken out and not been answered, kept in a file so that the next
// server can carry them out when this one is killed. The ring alone does not tell: an answer overwrites the
// oldest request in it, whichever that is. Memory-mapped: what is stored survives the process, not the host.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "device/scsi.h"

namespace obd {

// A command as taken from the ring: 32 bytes and as many of `parts` as there are.
struct TcmuCommand {
  struct Part {
    uint32_t offset, size;  // of a piece of its data in the mapped ring, bytes
  };
  static constexpr size_t kMaxParts = 500;

  uint32_t taken;  // 1 while it is in here
  uint16_t id;
  uint16_t part_count;
  uint8_t cdb[scsi::kCdbSize];
  uint64_t data_size;  // bytes of all parts
  Part parts[kMaxParts];
};

class TcmuInflight {
 public:
  // Maps the file: `anew` for a ring that has just been made, else what the last server has left. A file that
  // is not there is made. Throws std::system_error.
  TcmuInflight(const std::string& path, bool anew);
  ~TcmuInflight();
  TcmuInflight(const TcmuInflight&) = delete;
  TcmuInflight& operator=(const TcmuInflight&) = delete;

  // Makes up for where the last server was killed; `tail` is the ring's.
  void recover(uint32_t tail);

  // The position in the ring up to which commands have been taken.
  uint32_t position() const;
  void advance(uint32_t position);

  // The place of a command: filled in by the caller, then marked as taken.
  TcmuCommand& place(uint16_t id) { return commands_[id]; }
  void take(TcmuCommand& command);
  // The commands that are taken.
  std::vector<TcmuCommand*> taken();

  // An answer is given between these two: `answer` must end with moving the ring's tail, which was `tail`.
  template <typename Answer>
  void settle(TcmuCommand& command, uint32_t tail, Answer answer) {
    begin_settling(command, tail);
    answer();
    end_settling(command);
  }

 private:
  struct Head;
  void begin_settling(const TcmuCommand& command, uint32_t tail);
  void end_settling(TcmuCommand& command);

  Head* head_ = nullptr;
  TcmuCommand* commands_ = nullptr;  // by id
};

}  // namespace obd
