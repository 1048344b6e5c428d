#include "zfile/payload.h"

#include <unistd.h>

#include <algorithm>
#include <memory>

#include "blob/local_blob.h"
#include "blob/tar_entry.h"
#include "error.h"
#include "zfile/zfile.h"

namespace obd {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

class BlobSource : public ByteSource {
 public:
  explicit BlobSource(std::shared_ptr<Blob> blob) : blob_(std::move(blob)) {}
  uint64_t size() const override { return blob_->size(); }
  void read(void* buf, size_t count, uint64_t offset) override {
    Misses none;
    blob_->try_read(buf, count, offset, none);
  }

 private:
  std::shared_ptr<Blob> blob_;
};

uint64_t copy_plain(ByteSource& source, uint64_t at, const NewFile& file) {
  const std::unique_ptr<char[]> buf(new char[kCopyBytes]);
  for (uint64_t done = 0; done < source.size();) {
    const size_t n = static_cast<size_t>(std::min<uint64_t>(kCopyBytes, source.size() - done));
    source.read(buf.get(), n, done);
    pwrite_full(file.fd(), buf.get(), n, at + done, file.name());
    done += n;
  }
  return source.size();
}

uint64_t write_content(ByteSource& source, const std::optional<ZFileOptions>& zfile, uint64_t at, const NewFile& file,
                       const KeptBlocks* kept) {
  if (!zfile) return copy_plain(source, at, file);
  return kept ? write_zfile_keeping(source, *kept, *zfile, file.fd(), at, file.name())
              : write_zfile(source, *zfile, file.fd(), at, file.name());
}

}  // namespace

uint64_t write_payload(ByteSource& source, const std::optional<ZFileOptions>& zfile, bool tar, const NewFile& file,
                       const KeptBlocks* kept) {
  const uint64_t at = tar ? kTarWrapHead : 0;
  const uint64_t payload = write_content(source, zfile, at, file, kept);
  if (!tar) return payload;
  const std::string head = tar_wrap_head(payload);
  pwrite_full(file.fd(), head.data(), head.size(), 0, file.name());
  const uint64_t size = at + payload + tar_wrap_tail(payload);
  if (::ftruncate(file.fd(), static_cast<off_t>(size)) != 0) throw_errno("extend " + file.name());
  return size;
}

uint64_t compress_file(const std::string& from, const std::string& to, const ZFileOptions& options, bool tar) {
  check_zfile_options(options);
  BlobSource source(std::make_shared<LocalBlob>(from));
  NewFile file(to);
  const uint64_t size = write_payload(source, options, tar, file);
  file.keep();
  return size;
}

uint64_t decompress_file(const std::string& from, const std::string& to) {
  Misses none;
  std::shared_ptr<Blob> payload;
  std::shared_ptr<ZFile> zfile;
  try_unwrap_tar(std::make_shared<LocalBlob>(from), payload, none);
  ZFile::try_open(payload, zfile, none);
  if (!zfile) throw FormatError(from, 0, "not a ZFile: it does not begin with the magics");
  BlobSource source(zfile);
  NewFile file(to);
  copy_plain(source, 0, file);
  file.keep();
  return zfile->size();
}

}  // namespace obd
