#include "lsmt/commit.h"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "blob/local_blob.h"
#include "blob/new_file.h"
#include "files/sha256.h"
#include "lsmt/layer_image.h"
#include "zfile/payload.h"

namespace obd {
namespace {

constexpr size_t kCopyBytes = 1 << 20;

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

}  // namespace obd
