#include "gzip_support.h"

#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "gzip/gzip_index.h"
#include "zfile/crc32c.h"

namespace obd::test {
namespace {

std::string zlib_of(const std::string& plain) {
  uLongf size = ::compressBound(plain.size());
  std::string out(size, '\0');
  ::compress2(reinterpret_cast<Bytef*>(out.data()), &size, reinterpret_cast<const Bytef*>(plain.data()), plain.size(), 6);
  out.resize(size);
  return out;
}

template <typename T>
void put(std::string& bytes, size_t offset, T value) {
  std::memcpy(&bytes[offset], &value, sizeof value);
}

// The 32 KiB before the end of `plain`, zeros before its beginning.
std::string window_of(const std::string& plain) {
  const std::string padded = std::string(kDeflateWindow, '\0') + plain.substr(plain.size() - std::min(plain.size(), kDeflateWindow));
  return padded.substr(padded.size() - kDeflateWindow);
}

}  // namespace

std::string gzip_of(const std::string& plain, int level) {
  z_stream s{};
  ::deflateInit2(&s, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(::deflateBound(&s, plain.size()) + 64, '\0');
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(plain.data()));
  s.avail_in = static_cast<uInt>(plain.size());
  s.next_out = reinterpret_cast<Bytef*>(out.data());
  s.avail_out = static_cast<uInt>(out.size());
  ::deflate(&s, Z_FINISH);
  out.resize(s.total_out);
  ::deflateEnd(&s);
  return out;
}

std::string gzip_index_of(const std::string& gzip, size_t span, bool compressed) {
  struct Place {
    uint64_t plain, packed;
    unsigned bits;
  };
  std::vector<Place> places;
  std::string plain;
  z_stream s{};
  ::inflateInit2(&s, 47);
  s.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzip.data()));
  s.avail_in = static_cast<uInt>(gzip.size());
  for (int result = Z_OK; result != Z_STREAM_END;) {
    char chunk[4096];
    s.next_out = reinterpret_cast<Bytef*>(chunk);
    s.avail_out = sizeof chunk;
    result = ::inflate(&s, Z_BLOCK);
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) throw std::runtime_error("gzip_index_of: no gzip");
    plain.append(chunk, sizeof chunk - s.avail_out);
    if ((s.data_type & 128) == 0 || (s.data_type & 64) != 0) continue;
    // Of the boundaries up to a multiple of the span the last one counts.
    const Place here{plain.size(), gzip.size() - s.avail_in, static_cast<unsigned>(s.data_type & 7)};
    if (places.size() > 1 && here.plain - places[places.size() - 2].plain <= span) places.pop_back();
    places.push_back(here);
  }
  ::inflateEnd(&s);

  std::string index(333, '\0'), table;
  for (const Place& p : places) {
    const std::string window = window_of(plain.substr(0, p.plain)), stored = compressed ? zlib_of(window) : window;
    std::string entry(29, '\0');
    put<uint64_t>(entry, 0, p.plain);
    put<uint64_t>(entry, 8, p.packed);
    put<uint64_t>(entry, 16, index.size());
    put<uint8_t>(entry, 24, static_cast<uint8_t>(p.bits));
    put<uint32_t>(entry, 25, static_cast<uint32_t>(stored.size()));
    index += stored;
    table += entry;
  }
  const std::string stored_table = compressed ? zlib_of(table) : table;
  std::memcpy(index.data(), "ddgzidx", 8);
  put<uint8_t>(index, 8, 1);
  put<uint8_t>(index, 10, compressed ? 1 : 0);
  put<uint32_t>(index, 13, static_cast<uint32_t>(span));
  put<uint32_t>(index, 17, kDeflateWindow);
  put<uint32_t>(index, 21, 29);
  put<uint64_t>(index, 25, places.size());
  put<uint64_t>(index, 33, gzip.size());
  put<uint64_t>(index, 41, index.size() + stored_table.size());
  put<uint64_t>(index, 49, plain.size());
  put<uint64_t>(index, 313, index.size());
  put<uint64_t>(index, 321, stored_table.size());
  fix_index_checksum(index);
  return index + stored_table;
}

void fix_index_checksum(std::string& index) { put<uint32_t>(index, 329, crc32c_raw(index.data(), 329, 0)); }

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string tar;
  for (const auto& [name, bytes] : files) {
    std::string block(512, '\0');
    std::snprintf(&block[0], 100, "%s", name.c_str());
    std::snprintf(&block[100], 8, "%07o", 0444);
    std::snprintf(&block[124], 12, "%011zo", bytes.size());
    block[156] = '0';
    std::memcpy(&block[257], "ustar\00000", 8);
    std::memset(&block[148], ' ', 8);
    unsigned sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    std::snprintf(&block[148], 8, "%06o", sum);
    tar += block + bytes + std::string((512 - bytes.size() % 512) % 512, '\0');
  }
  return tar + std::string(1024, '\0');
}

}  // namespace obd::test
