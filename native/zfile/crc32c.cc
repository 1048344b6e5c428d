#include "zfile/crc32c.h"

#include <algorithm>
#include <array>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
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

uint64_t word_at(const unsigned char* p) {
  uint64_t word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

// Eight table look-ups for eight bytes.
uint32_t crc_tables(const unsigned char* p, size_t count, uint32_t crc) {
  static const Tables t = make_tables();
  for (; count >= 8; count -= 8, p += 8) {
    const uint64_t word = word_at(p) ^ crc;
    crc = 0;
#pragma GCC unroll 8
    for (size_t i = 0; i < 8; i++) crc ^= t[7 - i][(word >> (8 * i)) & 0xff];
  }
  for (; count > 0; count--, p++) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xff];
  return crc;
}

// For processors without a CRC-32C instruction: two and a half times as fast as tables, four times where each load is
// emulated. The polynomial divides x^209 + x^144 + x^54 + x^39 + x^14 + 1, so a bit may be taken out of the data when
// the bits 65, 155, 170, 195 and 209 behind it are flipped instead: only shifts, and the last words are left.
uint32_t crc_folded(const unsigned char* p, size_t count, uint32_t crc) {
  constexpr size_t kAhead = 4 * sizeof(uint64_t), kStep = 2 * sizeof(uint64_t), kShortest = 128;
  if (count < kShortest) return crc_tables(p, count, crc);
  uint64_t next[4] = {crc, 0, 0, 0};  // what is to be flipped in the words at p
  for (; count >= kStep + kAhead; count -= kStep, p += kStep) {
#pragma GCC unroll 2
    for (size_t at = 0; at < kStep; at += sizeof(uint64_t)) {
      const uint64_t word = word_at(p + at) ^ next[0];
      next[0] = next[1] ^ word << 1;
      next[1] = next[2] ^ word >> 63 ^ word << 27 ^ word << 42;
      next[2] = next[3] ^ word >> 37 ^ word >> 22 ^ word << 3 ^ word << 17;
      next[3] = word >> 61 ^ word >> 47;
    }
  }
  unsigned char rest[kStep + kAhead];
  std::memcpy(rest, p, count);
  for (size_t i = 0; i < 4; i++) next[i] ^= word_at(rest + i * sizeof(uint64_t));
  std::memcpy(rest, next, sizeof next);
  return crc_tables(rest, count, 0);
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc_hardware(const unsigned char* p, size_t count, uint32_t crc) {
  uint64_t wide = crc;
  for (; count >= 8; count -= 8, p += 8) wide = _mm_crc32_u64(wide, word_at(p));
  crc = static_cast<uint32_t>(wide);
  for (; count > 0; count--, p++) crc = _mm_crc32_u8(crc, *p);
  return crc;
}

constexpr size_t kMaxStripe = 1024;  // words of 8 bytes
constexpr size_t kMinStripe = 8;     // with less, joining the parts takes longer than it saves

// What moves a register over n words: carry-less product with factors[n], reduced by the CRC instruction, which
// multiplies by x^32 and the product's place in its 64 bits by x once more: x^(64 n - 33).
using Factors = std::array<uint32_t, 2 * kMaxStripe + 1>;
__attribute__((target("sse4.2"))) Factors make_factors() {
  Factors f{};
  f[1] = 0x00000001;  // x^31, reflected
  for (size_t n = 2; n < f.size(); n++) f[n] = static_cast<uint32_t>(_mm_crc32_u64(f[n - 1], 0));
  return f;
}

__attribute__((target("sse4.2,pclmul"))) uint64_t moved(uint64_t crc, uint32_t factor) {
  const __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128(static_cast<long long>(crc)), _mm_cvtsi32_si128(static_cast<int>(factor)), 0);
  return static_cast<uint64_t>(_mm_cvtsi128_si64(product));
}

// The instruction can begin every cycle but takes three: three stripes side by side, joined at the end.
__attribute__((target("sse4.2,pclmul"))) uint32_t crc_three_ways(const unsigned char* p, size_t count, uint32_t crc) {
  static const Factors factors = make_factors();
  while (count >= 3 * 8 * kMinStripe) {
    const size_t words = std::min(count / 24, kMaxStripe), stripe = words * 8;
    uint64_t a = crc, b = 0, c = 0;
    const unsigned char* const last = p + stripe - 8;
    for (; p < last; p += 8) {
      a = _mm_crc32_u64(a, word_at(p));
      b = _mm_crc32_u64(b, word_at(p + stripe));
      c = _mm_crc32_u64(c, word_at(p + 2 * stripe));
    }
    a = _mm_crc32_u64(a, word_at(p));
    b = _mm_crc32_u64(b, word_at(p + stripe));
    c = _mm_crc32_u64(c, word_at(p + 2 * stripe) ^ moved(a, factors[2 * words]) ^ moved(b, factors[words]));
    crc = static_cast<uint32_t>(c);
    p += 2 * stripe + 8;
    count -= 3 * stripe;
  }
  return crc_hardware(p, count, crc);
}

// Folding: 128 bits of data, times x to the power of so many bits, are as good where they are added to the data that
// much further on. Both halves of each lane are multiplied, by factors of 32 bits in the upper half of 64.
#define OBD_WIDE __attribute__((target("sse4.2,pclmul,avx512f,vpclmulqdq")))
constexpr size_t kWide = 256;  // bytes at once: four registers of 64

struct FoldFactors {
  uint64_t lower = 1, upper = 0;  // x^(8 bytes + 63) for the first half and x^(8 bytes - 1) for the second, reflected
  __attribute__((target("sse4.2"))) explicit FoldFactors(size_t bytes) {
    for (size_t power = 31; power < 8 * bytes + 63; power += 32) {
      if (power == 8 * bytes - 1) upper = lower << 32;
      lower = _mm_crc32_u32(static_cast<uint32_t>(lower), 0);
    }
    lower <<= 32;
  }
  OBD_WIDE __m512i all() const {
    const auto u = static_cast<long long>(upper), l = static_cast<long long>(lower);
    return _mm512_set_epi64(u, l, u, l, u, l, u, l);
  }
  OBD_WIDE __m128i one() const { return _mm_set_epi64x(static_cast<long long>(upper), static_cast<long long>(lower)); }
};

OBD_WIDE __m512i folded(__m512i data, __m512i factors, __m512i onto) {
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(data, factors, 0x00), _mm512_clmulepi64_epi128(data, factors, 0x11), onto, 0x96);
}

OBD_WIDE uint32_t crc_wide(const unsigned char* p, size_t count, uint32_t crc) {
  if (count < 2 * kWide) return crc_three_ways(p, count, crc);
  static const FoldFactors by_16(16), by_64(64), by_256(256);
  const __m512i far = by_256.all(), near = by_64.all();
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_set_epi64(0, 0, 0, 0, 0, 0, 0, crc));
  __m512i b = _mm512_loadu_si512(p + 64), c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
  for (p += kWide, count -= kWide; count >= kWide; p += kWide, count -= kWide) {
    a = folded(a, far, _mm512_loadu_si512(p));
    b = folded(b, far, _mm512_loadu_si512(p + 64));
    c = folded(c, far, _mm512_loadu_si512(p + 128));
    d = folded(d, far, _mm512_loadu_si512(p + 192));
  }
  alignas(64) __m128i lanes[4];
  _mm512_store_si512(lanes, folded(folded(folded(a, near, b), near, c), near, d));
  __m128i rest = lanes[0];
  for (int i = 1; i < 4; i++) {
    const __m128i product = _mm_xor_si128(_mm_clmulepi64_si128(rest, by_16.one(), 0x00), _mm_clmulepi64_si128(rest, by_16.one(), 0x11));
    rest = _mm_xor_si128(product, lanes[i]);
  }
  const uint64_t sum = _mm_crc32_u64(0, static_cast<uint64_t>(_mm_extract_epi64(rest, 0)));
  return crc_three_ways(p, count, static_cast<uint32_t>(_mm_crc32_u64(sum, static_cast<uint64_t>(_mm_extract_epi64(rest, 1)))));
}

// QEMU's emulator carries the instruction out bit by bit.
bool is_emulated() {
  constexpr unsigned kHypervisorLeaf = 0x40000000;
  unsigned eax = 0, signature[3] = {};
  __cpuid(kHypervisorLeaf, eax, signature[0], signature[1], signature[2]);
  return std::memcmp(signature, "TCGTCGTCGTCG", sizeof signature) == 0;
}
auto fastest() {
  if (__builtin_cpu_supports("sse4.2") == 0 || is_emulated()) return crc_folded;
  if (__builtin_cpu_supports("pclmul") == 0) return crc_hardware;
  const bool wide = __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("vpclmulqdq") != 0;
  return wide ? crc_wide : crc_three_ways;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) uint32_t crc_hardware(const unsigned char* p, size_t count, uint32_t crc) {
  for (; count >= 8; count -= 8, p += 8) {
    crc = __crc32cd(crc, word_at(p));
  }
  for (; count > 0; count--, p++) crc = __crc32cb(crc, *p);
  return crc;
}
auto fastest() { return (getauxval(AT_HWCAP) & (1UL << 7)) != 0 ? crc_hardware : crc_folded; }  // HWCAP_CRC32
#else
auto fastest() { return crc_folded; }
#endif

}  // namespace

uint32_t crc32c_raw_portable(const void* data, size_t count, uint32_t seed) {
  return crc_folded(static_cast<const unsigned char*>(data), count, seed);
}

uint32_t crc32c_raw(const void* data, size_t count, uint32_t seed) {
  static const auto crc = fastest();
  return crc(static_cast<const unsigned char*>(data), count, seed);
}

}  // namespace obd
