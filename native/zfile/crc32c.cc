#include "zfile/crc32c.h"

#include <array>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

namespace obd {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // reflected 0x1EDC6F41

using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables make_tables() {
  Tables t{};
  for (uint32_t i = 0; i < 256; i++) {
    uint32_t c = i;
    for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ ((c & 1) ? kPolynomial : 0);
    t[0][i] = c;
  }
  for (size_t k = 1; k < 8; k++) {
    for (size_t i = 0; i < 256; i++) t[k][i] = (t[k - 1][i] >> 8) ^ t[0][t[k - 1][i] & 0xff];
  }
  return t;
}

// Eight table look-ups for eight bytes: for processors without a CRC-32C instruction.
uint32_t crc_tables(const unsigned char* p, size_t count, uint32_t crc) {
  static const Tables t = make_tables();
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    word ^= crc;
    crc = 0;
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) crc ^= t[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; count > 0; count--, p++) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xff];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc_hardware(const unsigned char* p, size_t count, uint32_t crc) {
  uint64_t wide = crc;
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    wide = _mm_crc32_u64(wide, word);
  }
  crc = static_cast<uint32_t>(wide);
  for (; count > 0; count--, p++) crc = _mm_crc32_u8(crc, *p);
  return crc;
}
// QEMU's emulator carries the instruction out bit by bit: a fifth as fast as tables there.
bool is_emulated() {
  constexpr unsigned kHypervisorLeaf = 0x40000000;
  unsigned eax = 0, signature[3] = {};
  __cpuid(kHypervisorLeaf, eax, signature[0], signature[1], signature[2]);
  return std::memcmp(signature, "TCGTCGTCGTCG", sizeof signature) == 0;
}
bool have_hardware() { return __builtin_cpu_supports("sse4.2") != 0 && !is_emulated(); }
#elif defined(__aarch64__)
__attribute__((target("+crc"))) uint32_t crc_hardware(const unsigned char* p, size_t count, uint32_t crc) {
  for (; count >= 8; count -= 8, p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    crc = __crc32cd(crc, word);
  }
  for (; count > 0; count--, p++) crc = __crc32cb(crc, *p);
  return crc;
}
bool have_hardware() { return (getauxval(AT_HWCAP) & (1UL << 7)) != 0; }  // HWCAP_CRC32
#else
uint32_t crc_hardware(const unsigned char* p, size_t count, uint32_t crc) { return crc_tables(p, count, crc); }
bool have_hardware() { return false; }
#endif

}  // namespace

uint32_t crc32c_raw(const void* data, size_t count, uint32_t seed) {
  static const bool hardware = have_hardware();
  const auto* p = static_cast<const unsigned char*>(data);
  return hardware ? crc_hardware(p, count, seed) : crc_tables(p, count, seed);
}

}  // namespace obd
