#include "device/device_label.h"

#include <algorithm>

namespace obd {
namespace {

constexpr char kPrefix[] = "obd:";
constexpr size_t kPrefixLength = sizeof kPrefix - 1, kOwnerLength = 24, kPackedDigits = 10;

bool is_hex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<DeviceLabel> DeviceLabel::parse(const std::string& text) {
  if (text.compare(0, kPrefixLength, kPrefix) != 0) return std::nullopt;
  const size_t slash = kPrefixLength + kOwnerLength;
  constexpr size_t kMaxDigits = 8;  // a number must fit 24 bits
  if (text.size() < slash + 2 || text.size() > slash + 1 + kMaxDigits || text[slash] != '/') return std::nullopt;
  DeviceLabel label{text.substr(kPrefixLength, kOwnerLength), 0};
  const std::string number = text.substr(slash + 1);
  if (!std::all_of(label.owner.begin(), label.owner.end(), is_hex)) return std::nullopt;
  if (!std::all_of(number.begin(), number.end(), is_digit)) return std::nullopt;
  label.number = static_cast<uint32_t>(std::stoul(number));
  if (label.number >> 24 != 0) return std::nullopt;
  return label;
}

std::string DeviceLabel::text() const { return kPrefix + owner + "/" + std::to_string(number); }

uint64_t DeviceLabel::packed() const { return std::stoull(owner.substr(0, kPackedDigits), nullptr, 16) << 24 | number; }

}  // namespace obd
