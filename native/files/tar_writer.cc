#include "files/tar_writer.h"

#include <cstring>
#include <stdexcept>

#include "files/go_path.h"

namespace obd::files {

namespace {

constexpr size_t kBlock = 512;
const char kZeros[kBlock] = {};

bool is_ascii(std::string_view s) {
  for (char c : s) {
    if (static_cast<unsigned char>(c) >= 0x80 || c == 0) return false;
  }
  return true;
}

std::string only_ascii(std::string_view s) {
  std::string out;
  for (char c : s) {
    if (static_cast<unsigned char>(c) < 0x80 && c != 0) out += c;
  }
  return out;
}

bool fits_octal(size_t width, uint64_t value) { return value < uint64_t{1} << (3 * (width - 1)); }

struct Block {
  char bytes[kBlock] = {};

  void text(size_t at, size_t width, const std::string& value) {
    std::memcpy(bytes + at, value.data(), std::min(width, value.size()));
    // A reader that only knows this field must not take a cut name that ends in a slash for a directory.
    if (value.size() > width && bytes[at + width - 1] == '/') {
      size_t end = width - 1;
      while (end > 0 && bytes[at + end - 1] == '/') end--;
      bytes[at + end] = 0;
    }
  }
  void octal(size_t at, size_t width, uint64_t value) {
    if (!fits_octal(width, value)) value = 0;  // the pax record has it
    for (size_t i = width - 1; i > 0; i--) {
      bytes[at + i - 1] = static_cast<char>('0' + (value & 7));
      value >>= 3;
    }
  }
  // Magic and checksum, last.
  void seal() {
    std::memcpy(bytes + 257, "ustar\0" "00", 8);
    std::memset(bytes + 148, ' ', 8);
    uint64_t sum = 0;
    for (char c : bytes) sum += static_cast<unsigned char>(c);
    octal(148, 7, sum);
    bytes[154] = 0;
  }
};

// Where ustar may cut a long name into prefix and name; false when it cannot.
bool split_ustar(const std::string& name, std::string& prefix, std::string& rest) {
  if (name.size() <= 100 || !is_ascii(name)) return false;
  size_t length = name.size();
  if (length > 156) {
    length = 156;
  } else if (name.back() == '/') {
    length--;
  }
  const size_t slash = name.rfind('/', length - 1);
  if (slash == std::string::npos || slash == 0) return false;
  const size_t after = name.size() - slash - 1;
  if (after > 100 || after == 0 || slash > 155) return false;
  prefix = name.substr(0, slash);
  rest = name.substr(slash + 1);
  return true;
}

// "LEN key=value\n", LEN counting itself.
std::string pax_record(const std::string& key, const std::string& value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t total = rest + std::to_string(rest).size();
  if (std::to_string(total).size() != std::to_string(rest).size()) total = rest + std::to_string(total).size();
  return std::to_string(total) + " " + key + "=" + value + "\n";
}

// Rounded down to seconds, not below the epoch, which octal fields cannot say.
uint64_t whole_seconds(int64_t nanos) { return nanos < 0 ? 0 : static_cast<uint64_t>(nanos / 1'000'000'000); }

std::string exact_seconds(int64_t nanos) {
  if (nanos < 0) return "0";
  const std::string fraction = std::to_string(nanos % 1'000'000'000);
  return std::to_string(nanos / 1'000'000'000) + "." + std::string(9 - fraction.size(), '0') + fraction;
}

}  // namespace

void TarWriter::pad() {
  if (left_ != 0) throw std::logic_error("tar entry closed before all its data was written");
  out_(std::string_view(kZeros, padding_));
  padding_ = 0;
}

void TarWriter::block(const TarEntry& entry, const std::string& prefix, const std::string& name) {
  Block b;
  b.text(0, 100, only_ascii(name));
  b.octal(100, 8, entry.mode);
  b.octal(108, 8, entry.uid);
  b.octal(116, 8, entry.gid);
  b.octal(124, 12, entry.size);
  b.octal(136, 12, whole_seconds(entry.mtime));
  b.bytes[156] = entry.type;
  b.text(157, 100, only_ascii(entry.link));
  b.octal(329, 8, entry.major);
  b.octal(337, 8, entry.minor);
  b.text(345, 155, prefix);
  b.seal();
  out_({b.bytes, kBlock});
}

void TarWriter::header(const TarEntry& entry) {
  pad();
  std::map<std::string, std::string> records;
  std::string prefix, rest;
  for (const auto& [key, value] : entry.xattrs) records["SCHILY.xattr." + key] = value;
  const bool long_name = entry.name.size() > 100 || !is_ascii(entry.name);
  const bool split = long_name && split_ustar(entry.name, prefix, rest);
  if (long_name && !split) records["path"] = entry.name;
  if (entry.link.size() > 100 || !is_ascii(entry.link)) records["linkpath"] = entry.link;
  if (!fits_octal(8, entry.uid)) records["uid"] = std::to_string(entry.uid);
  if (!fits_octal(8, entry.gid)) records["gid"] = std::to_string(entry.gid);
  if (!fits_octal(12, entry.size)) records["size"] = std::to_string(entry.size);
  if (exact_times_) records["mtime"] = exact_seconds(entry.mtime);

  const bool pax = !records.empty();
  if (pax) {
    if (long_name) records["path"] = entry.name;  // a pax archive does not split names
    std::string text;
    for (const auto& [key, value] : records) text += pax_record(key, value);
    const auto [dir, file] = split_path(entry.name);
    std::string name = only_ascii(join_path(dir, "PaxHeaders.0/" + file)).substr(0, 100);
    while (!name.empty() && name.back() == '/') name.pop_back();
    Block b;
    b.text(0, 100, name);
    b.octal(100, 8, 0);
    b.octal(108, 8, 0);
    b.octal(116, 8, 0);
    b.octal(124, 12, text.size());
    b.octal(136, 12, 0);
    b.bytes[156] = 'x';
    b.seal();
    out_({b.bytes, kBlock});
    out_(text);
    padding_ = (kBlock - text.size() % kBlock) % kBlock;
    pad();
  }
  if (!pax && split) {
    block(entry, prefix, rest);
  } else {
    block(entry, "", entry.name);
  }
  left_ = entry.type == '0' ? entry.size : 0;
  padding_ = (kBlock - left_ % kBlock) % kBlock;
}

void TarWriter::data(std::string_view bytes) {
  if (bytes.size() > left_) throw std::logic_error("more data than the tar entry's size");
  left_ -= bytes.size();
  out_(bytes);
}

void TarWriter::finish() {
  pad();
  out_({kZeros, kBlock});
  out_({kZeros, kBlock});
}

}  // namespace obd::files
