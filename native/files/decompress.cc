#include "files/decompress.h"

#include <vector>

#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr size_t kHead = 8;
constexpr size_t kRoom = 256 << 10;

}  // namespace

Decompressor::Decompressor(ByteSource& in) : in_(in) {
  while (head_.size() < kHead) {
    std::string_view chunk = in.next();
    if (chunk.empty()) break;
    head_ += chunk;
  }
  kind_ = compression_of(head_);
}

std::string_view Decompressor::next() {
  if (head_given_ || head_.empty()) return in_.next();
  head_given_ = true;
  return head_;
}

void Decompressor::run(const std::function<void(std::string_view)>& out) {
  if (compressed()) decode(out);
  // What lies behind compressed data is read too, so that digests cover it.
  for (std::string_view chunk = next(); !chunk.empty(); chunk = next()) {
    if (!compressed()) out(chunk);
  }
}

void Decompressor::decode(const std::function<void(std::string_view)>& out) {
  std::vector<char> room(kRoom);
  std::string_view in = next();
  while (!in.empty() && may_begin(kind_, in[0])) {  // zeros and garbage behind the last member are ignored
    const auto decoder = make_decoder(kind_);
    for (Decoder::Step step{}; !step.end;) {
      if (in.empty()) in = next();
      const bool at_end = in.empty();
      step = decoder->step(in, room.data(), room.size());
      if (step.made != 0) out({room.data(), step.made});
      if (at_end && step.made == 0 && !step.end) {
        throw FsError(kind_ == Compression::xz ? "exit status 1: xz: (stdin): Unexpected end of input" : "unexpected EOF", EBADMSG);
      }
    }
    if (in.empty()) in = next();
  }
}

}  // namespace obd::files
