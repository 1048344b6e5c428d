// How a kernel object tells whose it is when its owner is gone.
#pragma once
#include <cstdint>
#include <optional>
#include <string>

namespace obd {

// Of a device: the instance it belongs to, and which of its devices it is.
struct DeviceLabel {
  std::string owner;    // 24 hex digits
  uint32_t number = 0;

  // "obd:<owner>/<number>"; nullopt for anything else.
  static std::optional<DeviceLabel> parse(const std::string& text);
  std::string text() const;
  // For servers that have room for a number only: 40 bits of the owner above 24 bits of the number.
  uint64_t packed() const;
  static uint64_t packed_owner(uint64_t packed) { return packed >> 24; }
  static uint32_t packed_number(uint64_t packed) { return packed & 0xffffff; }
};

}  // namespace obd
