#include "files/decompress.h"

#include <archive.h>
#include <archive_entry.h>

#include <exception>
#include <memory>

#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr size_t kHead = 16;

// The source with the bytes that were looked at put back in front.
struct Feed {
  ByteSource& source;
  std::string head;
  bool head_given = false;
  std::exception_ptr failure = nullptr;

  std::string_view next() {
    if (head_given || head.empty()) return source.next();
    head_given = true;
    return head;
  }
};

la_ssize_t feed_libarchive(struct archive* archive, void* data, const void** bytes) {
  auto* feed = static_cast<Feed*>(data);
  try {
    std::string_view chunk = feed->next();
    *bytes = chunk.data();
    return static_cast<la_ssize_t>(chunk.size());
  } catch (...) {  // must not travel through C frames
    feed->failure = std::current_exception();
    archive_set_error(archive, EIO, "input failed");
    return -1;
  }
}

void check(struct archive* archive, int rc, const Feed& feed) {
  if (feed.failure) std::rethrow_exception(feed.failure);
  if (rc >= ARCHIVE_WARN) return;
  const char* text = archive_error_string(archive);
  throw FsError(std::string("decompression failed: ") + (text ? text : "damaged data"), EBADMSG);
}

void run_libarchive(Feed& feed, const std::function<void(std::string_view)>& out) {
  std::unique_ptr<struct archive, int (*)(struct archive*)> owner(archive_read_new(), archive_read_free);
  struct archive* archive = owner.get();
  archive_read_support_filter_gzip(archive);
  archive_read_support_filter_bzip2(archive);
  archive_read_support_filter_xz(archive);
  archive_read_support_filter_zstd(archive);
  archive_read_support_format_raw(archive);
  archive_read_support_format_empty(archive);
  check(archive, archive_read_open(archive, &feed, nullptr, feed_libarchive, nullptr), feed);
  struct archive_entry* entry;
  int rc = archive_read_next_header(archive, &entry);
  if (rc == ARCHIVE_EOF) return check(archive, ARCHIVE_OK, feed);
  check(archive, rc, feed);
  while (true) {
    const void* bytes;
    size_t size;
    la_int64_t offset;
    rc = archive_read_data_block(archive, &bytes, &size, &offset);
    if (rc == ARCHIVE_EOF) break;
    check(archive, rc, feed);
    out({static_cast<const char*>(bytes), size});
  }
  check(archive, ARCHIVE_OK, feed);
}

bool begins(std::string_view s, std::string_view magic) { return s.substr(0, magic.size()) == magic; }

}  // namespace

bool is_compressed(std::string_view head) {
  using namespace std::string_view_literals;
  return begins(head, "\x1f\x8b\x08"sv) || begins(head, "BZh"sv) || begins(head, "\xfd\x37zXZ\0"sv) ||
         begins(head, "\x28\xb5\x2f\xfd"sv);
}

void decompress(ByteSource& in, const std::function<void(std::string_view)>& out) {
  Feed feed{in, "", false};
  while (feed.head.size() < kHead) {
    std::string_view chunk = in.next();
    if (chunk.empty()) break;
    feed.head += chunk;
  }
  if (is_compressed(feed.head)) {
    run_libarchive(feed, out);
    // What lies behind the compressed data is read too, so that digests cover it.
    while (!feed.next().empty()) continue;
    return;
  }
  for (std::string_view chunk = feed.next(); !chunk.empty(); chunk = feed.next()) out(chunk);
}

}  // namespace obd::files
