#include "lsmt/commit.h"

#include <algorithm>
#include <memory>
#include <stdexcept>

#include "blob/local_blob.h"
#include "blob/new_file.h"
#include "files/sha256.h"
#include "lsmt/layer_image.h"
#include "lsmt/overlaid_layer.h"
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

LsmtHeader identity_of(const Layer& source, const CommitOptions& options) {
  if (options.zfile) check_zfile_options(*options.zfile);
  if (options.user_tag.size() > 256) {
    throw std::invalid_argument("user tag of " + std::to_string(options.user_tag.size()) + " bytes: at most 256 are possible");
  }
  LsmtHeader identity;
  identity.virtual_size = source.virtual_size();
  identity.uuid = normalize_uuid(options.uuid);
  identity.parent_uuid = options.parent_uuid ? normalize_uuid(*options.parent_uuid) : source.parent_uuid();
  identity.user_tag = options.user_tag;
  return identity;
}

CommitResult write(LayerImage& image, const CommitOptions& options, const std::string& path, const KeptBlocks* kept) {
  NewFile file(path);
  CommitResult result;
  result.size = write_payload(image, options.zfile, options.tar, file, kept);
  if (options.digest) result.digest = digest_of(file, result.size);
  result.segments = image.segments();
  result.data_bytes = image.data_bytes();
  file.keep();
  return result;
}

// Kept blocks that are dead may be at most this part of the data.
constexpr uint64_t kDeadPart = 10;

}  // namespace

CommitResult commit(const Layer& source, const CommitOptions& options, const std::string& path) {
  LayerImage image(source, identity_of(source, options), options.below.get());
  return write(image, options, path, nullptr);
}

CommitResult commit_onto(const std::shared_ptr<SealedLayer>& former, const Layer& written, const CommitOptions& options,
                         const std::string& path) {
  const OverlaidLayer both(former, written);
  const std::shared_ptr<ZFile>& zfile = former->zfile();
  const bool alike = zfile && options.zfile && can_keep_blocks(zfile->header(), *options.zfile);
  if (!alike || both.dead_bytes() > both.live_bytes() / kDeadPart) return commit(both, options, path);
  const uint64_t kept = former->trailer().index_offset;
  LayerImage image(both, identity_of(both, options), options.below.get(), kept);
  // Whole blocks of data: the first holds the header, the last may hold a part of the index.
  const uint32_t block = options.zfile->block_size;
  const uint64_t begin = (kLsmtHeaderSize + block - 1) / block, end = kept / block;
  if (begin >= end) return write(image, options, path, nullptr);
  const KeptBlocks blocks{*zfile, begin, end};
  return write(image, options, path, &blocks);
}

}  // namespace obd
