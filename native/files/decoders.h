// Streaming decoders: whatever can be read of a damaged or cut stream comes out before the error does.
#pragma once
#include <cstddef>
#include <memory>
#include <string_view>

namespace obd::files {

enum class Compression { none, gzip, bzip2, xz, zstd };

// What a stream is by its first bytes; 8 are enough.
Compression compression_of(std::string_view head);

// Whether another member of the kind can begin with this byte.
bool may_begin(Compression kind, char first);

class Decoder {
 public:
  struct Step {
    size_t made;  // bytes written to the room
    bool end;     // of a member: another one may follow
  };
  virtual ~Decoder() = default;
  // Takes what it can of `in` and moves past it. Nothing made and nothing taken: it needs more input. Throws
  // FsError (EBADMSG) for damaged data.
  virtual Step step(std::string_view& in, char* room, size_t size) = 0;
};

// For one member (gzip), stream (bzip2, xz) or frame (zstd) of the kind, which is not `none`.
std::unique_ptr<Decoder> make_decoder(Compression kind);

}  // namespace obd::files
