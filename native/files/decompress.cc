#include "files/decompress.h"

#include <archive.h>
#include <archive_entry.h>

#include <memory>

#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr size_t kHead = 16;

bool has_magic(std::string_view head) {
  using namespace std::string_view_literals;
  auto begins = [&](std::string_view magic) { return head.substr(0, magic.size()) == magic; };
  return begins("\x1f\x8b\x08"sv) || begins("BZh"sv) || begins("\xfd\x37zXZ\0"sv) || begins("\x28\xb5\x2f\xfd"sv);
}

}  // namespace

Decompressor::Decompressor(ByteSource& in) : in_(in) {
  while (head_.size() < kHead) {
    std::string_view chunk = in.next();
    if (chunk.empty()) break;
    head_ += chunk;
  }
  compressed_ = has_magic(head_);
}

std::string_view Decompressor::next() {
  if (head_given_ || head_.empty()) return in_.next();
  head_given_ = true;
  return head_;
}

void Decompressor::run(const std::function<void(std::string_view)>& out) {
  if (compressed_) {
    run_libarchive(out);
    // What lies behind the compressed data is read too, so that digests cover it.
    while (!next().empty()) continue;
    return;
  }
  for (std::string_view chunk = next(); !chunk.empty(); chunk = next()) out(chunk);
}

long Decompressor::feed(struct archive* archive, void* self, const void** bytes) {
  auto* own = static_cast<Decompressor*>(self);
  try {
    std::string_view chunk = own->next();
    *bytes = chunk.data();
    return static_cast<long>(chunk.size());
  } catch (...) {  // must not travel through C frames
    own->failure_ = std::current_exception();
    archive_set_error(archive, EIO, "input failed");
    return -1;
  }
}

void Decompressor::check(struct archive* archive, int rc) const {
  if (failure_) std::rethrow_exception(failure_);
  if (rc >= ARCHIVE_WARN) return;
  const char* text = archive_error_string(archive);
  if (text && std::string_view(text).find("truncated") != std::string_view::npos) throw FsError("unexpected EOF", EBADMSG);
  throw FsError(std::string("decompression failed: ") + (text ? text : "damaged data"), EBADMSG);
}

void Decompressor::run_libarchive(const std::function<void(std::string_view)>& out) {
  std::unique_ptr<struct archive, int (*)(struct archive*)> owner(archive_read_new(), archive_read_free);
  struct archive* archive = owner.get();
  archive_read_support_filter_gzip(archive);
  archive_read_support_filter_bzip2(archive);
  archive_read_support_filter_xz(archive);
  archive_read_support_filter_zstd(archive);
  archive_read_support_format_raw(archive);
  archive_read_support_format_empty(archive);
  check(archive, archive_read_open(archive, this, nullptr, feed, nullptr));
  struct archive_entry* entry;
  int rc = archive_read_next_header(archive, &entry);
  if (rc == ARCHIVE_EOF) return check(archive, ARCHIVE_OK);
  check(archive, rc);
  while (true) {
    const void* bytes;
    size_t size;
    la_int64_t offset;
    rc = archive_read_data_block(archive, &bytes, &size, &offset);
    if (rc == ARCHIVE_EOF) break;
    check(archive, rc);
    out({static_cast<const char*>(bytes), size});
  }
  check(archive, ARCHIVE_OK);
}

}  // namespace obd::files
