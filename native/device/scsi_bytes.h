// Big-endian numbers, as SCSI has them.
#pragma once
#include <cstdint>

namespace obd::scsi {

template <typename T>
T get_be(const uint8_t* from, unsigned bytes = sizeof(T)) {
  T value = 0;
  for (unsigned i = 0; i < bytes; ++i) value = static_cast<T>(value << 8 | from[i]);
  return value;
}

template <typename T>
void put_be(uint8_t* to, T value) {
  for (unsigned i = sizeof(T); i-- > 0; value = static_cast<T>(value >> 8)) to[i] = static_cast<uint8_t>(value & 0xff);
}

}  // namespace obd::scsi
