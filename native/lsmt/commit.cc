#include "lsmt/commit.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "blob/local_blob.h"
#include "blob/tar_entry.h"
#include "error.h"
#include "files/sha256.h"
#include "lsmt/layer_image.h"
#include "system/unique_fd.h"

namespace obd {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

// A file that appears under its name only when it is complete.
class NewFile {
 public:
  explicit NewFile(const std::string& path)
      : path_(path), temp_(path + ".tmp"), fd_(::open(temp_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) {
    if (!fd_) throw_errno("create " + temp_);
  }
  ~NewFile() {
    if (!kept_) ::unlink(temp_.c_str());
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  int fd() const { return fd_.get(); }
  const std::string& name() const { return temp_; }
  void keep() {
    if (::rename(temp_.c_str(), path_.c_str()) != 0) throw_errno("rename " + temp_ + " to " + path_);
    kept_ = true;
  }

 private:
  std::string path_, temp_;
  UniqueFd fd_;
  bool kept_ = false;
};

class FileSource : public ByteSource {
 public:
  explicit FileSource(const std::string& path) : blob_(path) {}
  uint64_t size() const override { return blob_.size(); }
  void read(void* buf, size_t count, uint64_t offset) override {
    Misses none;
    blob_.try_read(buf, count, offset, none);
  }

 private:
  LocalBlob blob_;
};

uint64_t copy_plain(ByteSource& source, int fd, uint64_t at, const std::string& name) {
  const std::unique_ptr<char[]> buf(new char[kCopyBytes]);
  for (uint64_t done = 0; done < source.size();) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kCopyBytes, source.size() - done));
    source.read(buf.get(), n, done);
    pwrite_full(fd, buf.get(), n, at + done, name);
    done += n;
  }
  return source.size();
}

// Writes the payload, and the tar around it once its size is known. Returns the size of the file.
uint64_t write_payload(ByteSource& source, const std::optional<ZFileOptions>& zfile, bool tar, const NewFile& file) {
  const uint64_t at = tar ? kTarWrapHead : 0;
  const uint64_t payload = zfile ? write_zfile(source, *zfile, file.fd(), at, file.name())
                                 : copy_plain(source, file.fd(), at, file.name());
  if (!tar) return payload;
  const std::string head = tar_wrap_head(payload);
  pwrite_full(file.fd(), head.data(), head.size(), 0, file.name());
  const uint64_t size = at + payload + tar_wrap_tail(payload);
  if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) throw_errno("extend " + file.name());
  return size;
}

// The headers at the start of the file are known last, so the digest takes a pass of its own, over pages
// that were just written.
std::string digest_of(const NewFile& file, uint64_t size) {
  files::Sha256 sha;
  const std::unique_ptr<char[]> buf(new char[kCopyBytes]);
  for (uint64_t at = 0; at < size;) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kCopyBytes, size - at));
    pread_full(file.fd(), buf.get(), n, at, file.name());
    sha.update(buf.get(), n);
    at += n;
  }
  return files::digest_string(sha.finish());
}

}  // namespace

CommitResult commit(const Layer& source, const CommitOptions& options, const std::string& path) {
  if (options.zfile) check_zfile_options(*options.zfile);
  if (options.user_tag.size() > 256) {
    throw std::invalid_argument("user tag of " + std::to_string(options.user_tag.size()) + " bytes: at most 256 are possible");
  }
  LsmtHeader identity;
  identity.virtual_size = source.virtual_size();
  identity.uuid = normalize_uuid(options.uuid);
  identity.parent_uuid = options.parent_uuid ? normalize_uuid(*options.parent_uuid) : source.parent_uuid();
  identity.user_tag = options.user_tag;
  LayerImage image(source, identity, options.below.get());

  NewFile file(path);
  CommitResult result;
  result.size = write_payload(image, options.zfile, options.tar, file);
  if (options.digest) result.digest = digest_of(file, result.size);
  result.segments = image.segments();
  result.data_bytes = image.data_bytes();
  file.keep();
  return result;
}

uint64_t compress_file(const std::string& from, const std::string& to, const ZFileOptions& options, bool tar) {
  check_zfile_options(options);
  FileSource source(from);
  NewFile file(to);
  const uint64_t size = write_payload(source, options, tar, file);
  file.keep();
  return size;
}

}  // namespace obd
