#include "files/tar_reader.h"

#include <algorithm>
#include <cstring>

#include "error.h"

namespace obd::files {

namespace {

constexpr size_t kBlock = 512;
constexpr uint64_t kMaxExtension = 1 << 20;  // of a pax header or a GNU long name, as in Go's archive/tar

std::string_view c_string(std::string_view field) { return field.substr(0, field.find('\0')); }

std::string_view trim(std::string_view text) {
  auto blank = [](char c) { return c == ' ' || c == '\0'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}

bool has_data(char type) { return type == '0' || type == '7' || type == 'S'; }

}  // namespace

struct TarReader::Header {
  char bytes[kBlock];
  std::string_view field(size_t at, size_t size) const { return {bytes + at, size}; }
  bool gnu() const { return field(257, 8) == std::string_view("ustar  \0", 8); }
  bool ustar() const { return field(257, 6) == std::string_view("ustar\0", 6); }
  bool zero() const {
    return std::all_of(bytes, bytes + kBlock, [](char c) { return c == 0; });
  }
  // The checksum counts its own field as blanks; some old writers summed signed bytes.
  bool checksum_is(int64_t stored) const {
    int64_t plain = 0, with_sign = 0;
    for (size_t i = 0; i < kBlock; i++) {
      const char c = i >= 148 && i < 156 ? ' ' : bytes[i];
      plain += static_cast<unsigned char>(c);
      with_sign += static_cast<signed char>(c);
    }
    return stored == plain || stored == with_sign;
  }
};

void TarReader::fail(const std::string& problem) const { throw FormatError("tar archive", position_, problem); }

void TarReader::cut_short() const { throw TarCutShort("tar archive", position_, "unexpected end"); }

bool TarReader::fill() {
  if (rest_.empty()) rest_ = source_.next();
  return !rest_.empty();
}

// False when the stream ends right here; an end inside the block is an error.
bool TarReader::read_block(char* block) {
  size_t have = 0;
  while (have < kBlock) {
    if (!fill()) {
      if (have == 0) return false;
      cut_short();
    }
    size_t n = std::min(kBlock - have, rest_.size());
    std::memcpy(block + have, rest_.data(), n);
    rest_.remove_prefix(n);
    have += n;
    position_ += n;
  }
  return true;
}

std::string_view TarReader::data() {
  if (left_ == 0) return {};
  if (!fill()) cut_short();
  std::string_view out = rest_.substr(0, std::min<uint64_t>(left_, rest_.size()));
  rest_.remove_prefix(out.size());
  left_ -= out.size();
  position_ += out.size();
  return out;
}

// As in Go, the last entry's padding may be missing.
void TarReader::skip_entry() {
  while (!data().empty()) continue;
  for (left_ = std::exchange(padding_, 0); left_ != 0 && fill();) data();
  left_ = 0;
}

std::string TarReader::read_whole(uint64_t size) {
  if (size > kMaxExtension) fail("extended header too large");
  left_ = size;
  padding_ = (kBlock - size % kBlock) % kBlock;
  std::string out;
  for (std::string_view piece = data(); !piece.empty(); piece = data()) out += piece;
  skip_entry();
  return out;
}

void TarReader::drain() {
  do {
    position_ += rest_.size();
    rest_ = {};
  } while (fill());
}

// An octal number, or with the high bit set a big-endian two's complement one.
int64_t TarReader::number(std::string_view field) const {
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80)) {
    const bool negative = field[0] & 0x40;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = 0; i < field.size(); i++) {
      uint64_t byte = static_cast<unsigned char>(field[i]);
      if (i == 0) byte = negative ? byte | 0x80 : byte & 0x7f;
      if (i + 8 < field.size() && byte != (negative ? 0xff : 0)) fail("number too large");
      value = value << 8 | byte;
    }
    if ((static_cast<int64_t>(value) < 0) != negative) fail("number too large");
    return static_cast<int64_t>(value);
  }
  int64_t value = 0;
  for (char c : c_string(trim(field))) {
    if (c < '0' || c > '7' || value > (INT64_MAX >> 3)) fail("invalid header");
    value = value * 8 + (c - '0');
  }
  return value;
}

uint64_t TarReader::decimal(std::string_view text) const {
  uint64_t value = 0;
  if (text.empty()) fail("invalid number in a pax header");
  for (char c : text) {
    if (c < '0' || c > '9' || value > (INT64_MAX - 9) / 10) fail("invalid number in a pax header");
    value = value * 10 + static_cast<uint64_t>(c - '0');
  }
  return value;
}

// "12.345678901" as nanoseconds; digits beyond the ninth are dropped.
int64_t TarReader::seconds(std::string_view text) const {
  const bool negative = !text.empty() && text[0] == '-';
  if (negative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const uint64_t whole = decimal(text.substr(0, dot));
  if (whole > INT64_MAX / 1'000'000'000 - 1) return 0;  // out of any range: the epoch, as containerd bounds it
  int64_t nanos = static_cast<int64_t>(whole) * 1'000'000'000, unit = 100'000'000;
  if (dot != std::string_view::npos) {
    for (char c : text.substr(dot + 1)) {
      if (c < '0' || c > '9') fail("invalid time in a pax header");
      nanos += (c - '0') * unit;
      unit /= 10;
    }
  }
  return negative ? -nanos : nanos;
}

TarReader::Records TarReader::parse_pax(const std::string& text) const {
  Records out;
  std::string_view rest(text);
  while (!rest.empty()) {
    const size_t blank = rest.find(' ');
    if (blank == std::string_view::npos) fail("invalid pax header");
    const uint64_t length = decimal(rest.substr(0, blank));
    if (length > rest.size() || length < blank + 3 || rest[length - 1] != '\n') fail("invalid pax header");
    const std::string_view record = rest.substr(blank + 1, length - blank - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) fail("invalid pax header");
    std::string key(record.substr(0, equals)), value(record.substr(equals + 1));
    // Sparse format 0.0 repeats these two: collect the pairs.
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      std::string& map = out["GNU.sparse.map"];
      map += (map.empty() ? "" : ",") + value;
    } else {
      out[key] = std::move(value);
    }
    rest.remove_prefix(length);
  }
  return out;
}

void TarReader::apply_header(const Header& header, TarEntry& entry) const {
  entry.name = c_string(header.field(0, 100));
  entry.link = c_string(header.field(157, 100));
  entry.mode = static_cast<uint32_t>(number(header.field(100, 8))) & 07777;
  entry.uid = static_cast<uint32_t>(number(header.field(108, 8)));
  entry.gid = static_cast<uint32_t>(number(header.field(116, 8)));
  const int64_t size = number(header.field(124, 12));
  if (size < 0) fail("negative size");
  entry.size = static_cast<uint64_t>(size);
  const int64_t mtime = number(header.field(136, 12));
  entry.mtime = mtime > INT64_MAX / 1'000'000'000 || mtime < INT64_MIN / 1'000'000'000 ? 0 : mtime * 1'000'000'000;
  entry.type = header.bytes[156];
  if (!header.ustar() && !header.gnu()) return;
  entry.major = static_cast<uint32_t>(number(header.field(329, 8)));
  entry.minor = static_cast<uint32_t>(number(header.field(337, 8)));
  const std::string_view prefix = c_string(header.field(345, 155));
  if (header.ustar() && !prefix.empty()) entry.name = std::string(prefix) + "/" + entry.name;
}

void TarReader::apply_records(const Records& records, TarEntry& entry) {
  for (const auto& [key, value] : records) {
    if (key.compare(0, 13, "SCHILY.xattr.") == 0) entry.xattrs.emplace_back(key.substr(13), value);
    if (value.empty()) continue;  // an empty value takes a record back
    if (key == "path") entry.name = value.c_str();
    else if (key == "linkpath") entry.link = value.c_str();
    else if (key == "size") entry.size = decimal(value);
    else if (key == "uid") entry.uid = static_cast<uint32_t>(decimal(value));
    else if (key == "gid") entry.gid = static_cast<uint32_t>(decimal(value));
    else if (key == "mtime") entry.mtime = seconds(value);
  }
}

// Formats 0.0 and 0.1 carry the map in the records, 1.0 as decimal lines in front of the data.
void TarReader::sparse_from_records(const Records& records, TarEntry& entry) {
  auto get = [&](const char* key) {
    auto at = records.find(key);
    return at == records.end() ? std::string() : at->second;
  };
  const bool in_data = get("GNU.sparse.major") == "1" && get("GNU.sparse.minor") == "0";
  const std::string map = get("GNU.sparse.map");
  if (!in_data && map.empty() && get("GNU.sparse.size").empty()) return;
  entry.sparse = true;
  const std::string name = get("GNU.sparse.name");
  if (!name.empty()) entry.name = name;
  const std::string real = get("GNU.sparse.realsize").empty() ? get("GNU.sparse.size") : get("GNU.sparse.realsize");
  entry.size = decimal(real);
  std::vector<uint64_t> numbers;
  if (in_data) {
    std::string text;
    size_t used = 0;
    auto line = [&]() {
      size_t end;
      while ((end = text.find('\n', used)) == std::string::npos) {
        char block[kBlock];
        if (left_ < kBlock || text.size() > kMaxExtension || !read_block(block)) fail("invalid sparse map");
        left_ -= kBlock;
        text.append(block, kBlock);
      }
      const uint64_t value = decimal(std::string_view(text).substr(used, end - used));
      used = end + 1;
      return value;
    };
    const uint64_t count = line();
    for (uint64_t i = 0; i < count; i++) {
      numbers.push_back(line());
      numbers.push_back(line());
    }
  } else {
    for (size_t at = 0; at < map.size();) {
      const size_t comma = std::min(map.find(',', at), map.size());
      numbers.push_back(decimal(std::string_view(map).substr(at, comma - at)));
      at = comma + 1;
    }
  }
  if (numbers.size() % 2 != 0) fail("invalid sparse map");
  for (size_t i = 0; i < numbers.size(); i += 2) entry.data.emplace_back(numbers[i], numbers[i + 1]);
}

// The old GNU format: four pairs in the header, the rest in blocks behind it.
void TarReader::sparse_from_header(const Header& header, TarEntry& entry) {
  entry.sparse = true;
  entry.type = '0';
  entry.size = static_cast<uint64_t>(number(header.field(483, 12)));
  Header block = header;
  size_t at = 386, pairs = 4;
  bool more = header.bytes[482] != 0;
  while (true) {
    for (size_t i = 0; i < pairs && block.bytes[at + i * 24] != 0; i++) {
      entry.data.emplace_back(number(block.field(at + i * 24, 12)), number(block.field(at + i * 24 + 12, 12)));
    }
    if (!more) return;
    if (entry.data.size() > kMaxExtension || !read_block(block.bytes)) fail("invalid sparse map");
    at = 0;
    pairs = 21;
    more = block.bytes[504] != 0;
  }
}

void TarReader::check_sparse(TarEntry& entry) const {
  uint64_t end = 0, stored = 0;
  for (const auto& [offset, length] : entry.data) {
    if (offset < end || length > INT64_MAX - offset || offset + length > entry.size) fail("invalid sparse map");
    end = offset + length;
    stored += length;
  }
  if (stored != left_) fail("sparse map does not match the data");
}

bool TarReader::next(TarEntry& entry) {
  skip_entry();
  Records records;
  std::string long_name, long_link;
  while (true) {
    Header header;
    if (!read_block(header.bytes)) {
      if (records.empty() && long_name.empty() && long_link.empty()) return false;
      cut_short();
    }
    if (header.zero()) {
      if (!read_block(header.bytes) || header.zero()) return false;
      fail("invalid header");
    }
    if (!header.checksum_is(number(header.field(148, 8)))) fail("invalid header");
    entry = TarEntry();
    apply_header(header, entry);
    if (entry.type == 'x') {
      records = parse_pax(read_whole(entry.size));
    } else if (entry.type == 'g') {
      parse_pax(read_whole(entry.size));  // global headers are checked and ignored, as in BuildKit
    } else if (entry.type == 'L') {
      long_name = c_string(read_whole(entry.size));
    } else if (entry.type == 'K') {
      long_link = c_string(read_whole(entry.size));
    } else {
      if (!long_name.empty()) entry.name = long_name;
      if (!long_link.empty()) entry.link = long_link;
      apply_records(records, entry);
      if (entry.type == '\0') entry.type = '0';
      const bool dir_by_name = entry.type == '0' && !entry.name.empty() && entry.name.back() == '/';
      if (dir_by_name && header.bytes[156] == '\0') entry.type = '5';
      entry.stored_type = entry.type;
      left_ = has_data(entry.type) ? entry.size : 0;
      padding_ = (kBlock - left_ % kBlock) % kBlock;
      if (entry.type == 'S') {
        sparse_from_header(header, entry);
      } else if (entry.type == '0') {
        sparse_from_records(records, entry);
      }
      if (entry.type == '7') entry.type = '0';  // a "contiguous" file
      if (entry.sparse) check_sparse(entry);
      return true;
    }
  }
}

}  // namespace obd::files
