#include "lsmt/flatten.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>

#include "blob/local_blob.h"
#include "blob/new_file.h"
#include "error.h"
#include "lsmt/parallel.h"
#include "lsmt/stack.h"

namespace obd {
namespace {

constexpr uint64_t kPart = 1 << 20;  // bytes read at once
constexpr size_t kHole = 4096;       // zeros are left out in blocks of this size

struct Part {
  uint64_t offset, count;
};

// The parts of the disk that hold data, in pieces of at most 1 MiB.
std::vector<Part> data_parts(const Stack& stack) {
  std::vector<Part> parts;
  stack.below_top()->for_each_data(0, stack.size() / kSector, [&](uint64_t begin, uint64_t end) {
    uint64_t at = begin * kSector;
    const uint64_t stop = end * kSector;
    if (!parts.empty() && parts.back().offset + parts.back().count == at) {
      const uint64_t more = std::min(stop - at, kPart - parts.back().count);
      parts.back().count += more;
      at += more;
    }
    for (; at < stop; at += kPart) parts.push_back({at, std::min(kPart, stop - at)});
  });
  return parts;
}

bool is_zero(const char* p, size_t count) { return p[0] == 0 && std::memcmp(p, p + 1, count - 1) == 0; }

// Writes the blocks that are not zero; neighbours go in one call.
uint64_t write_without_zeros(int fd, const char* buf, size_t count, uint64_t offset, const std::string& name) {
  uint64_t written = 0;
  for (size_t at = 0; at < count;) {
    auto block = [&](size_t i) { return std::min(kHole - (offset + i) % kHole, count - i); };
    if (is_zero(buf + at, block(at))) {
      at += block(at);
      continue;
    }
    size_t end = at;
    while (end < count && !is_zero(buf + end, block(end))) end += block(end);
    pwrite_full(fd, buf + at, end - at, offset + at, name);
    written += end - at;
    at = end;
  }
  return written;
}

}  // namespace

FlattenResult flatten(const std::vector<LayerFiles>& layers, const std::string& out, unsigned threads) {
  std::vector<std::shared_ptr<Layer>> opened;
  for (const LayerFiles& files : layers) opened.push_back(open_local_layer(files));
  Stack stack(std::move(opened), nullptr);
  const std::vector<Part> parts = data_parts(stack);

  NewFile file(out);
  if (::ftruncate(file.fd(), static_cast<off_t>(stack.size())) != 0) throw_errno("extend " + out);
  std::atomic<uint64_t> written{0};
  for_each_parallel(parts.size(), threads, [&](uint64_t i) {
    thread_local const std::unique_ptr<char[]> buf(new char[kPart]);
    Misses none;
    const Part& p = parts[i];
    stack.try_read(buf.get(), p.count, p.offset, none);
    written += write_without_zeros(file.fd(), buf.get(), p.count, p.offset, out);
  });
  file.keep();
  return {stack.size(), written};
}

}  // namespace obd
