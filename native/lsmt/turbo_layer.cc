#include "lsmt/turbo_layer.h"

#include <string_view>

#include "blob/bytes_blob.h"
#include "error.h"
#include "files/decompress.h"
#include "files/fs_error.h"
#include "files/sha256.h"
#include "files/tar_reader.h"
#include "gzip/gzip_file.h"

namespace obd {
namespace {

// Both are about 1 % of the layer; more than this is no archive anybody made.
constexpr uint64_t kMaxArchive = 256 << 20, kMaxUnpacked = 512 << 20;
constexpr size_t kTarBlock = 512, kTarMagic = 257;

class OneString : public files::ByteSource {
 public:
  explicit OneString(std::string_view bytes) : bytes_(bytes) {}
  std::string_view next() override { return std::exchange(bytes_, {}); }

 private:
  std::string_view bytes_;
};

std::string decompress(const std::string& bytes, const std::string& name) {
  std::string plain;
  OneString source(bytes);
  try {
    files::Decompressor(source).run([&](std::string_view piece) {
      if (piece.size() > kMaxUnpacked - plain.size()) throw FormatError(name, 0, "turboOCI: more than 512 MiB unpacked");
      plain += piece;
    });
  } catch (const files::FsError& e) {
    throw FormatError(name, 0, std::string("turboOCI: ") + e.what());
  }
  return plain;
}

std::string data_of(files::TarReader& tar) {
  std::string bytes;
  for (std::string_view piece = tar.data(); !piece.empty(); piece = tar.data()) bytes += piece;
  return bytes;
}

// The ordinary layer's tar, whatever it is compressed with. Null with misses.
std::shared_ptr<Blob> try_open_target(const std::shared_ptr<Blob>& target, std::string gzip_index, Misses& misses) {
  if (!gzip_index.empty()) {
    return std::make_shared<GzipFile>(target, GzipIndex(std::move(gzip_index), "gzip.meta of " + target->name()));
  }
  char head[kTarBlock];
  if (target->size() < sizeof head) throw FormatError(target->name(), 0, "turboOCI: the ordinary layer is no tar");
  if (!target->try_read(head, sizeof head, 0, misses)) return nullptr;
  if (std::string_view(head + kTarMagic, 5) != "ustar") {
    throw FormatError(target->name(), 0, "turboOCI: the ordinary layer is no tar, and there is no gzip.meta to read it with");
  }
  return target;
}

}  // namespace

TurboArchive unpack_turbo_archive(const std::string& bytes, const std::string& name) {
  const std::string plain = decompress(bytes, name);
  OneString source(plain);
  files::TarReader tar(source);
  TurboArchive archive;
  files::TarEntry entry;
  bool other_fs = false;
  try {
    while (tar.next(entry)) {
      if (entry.name == "ext4.fs.meta") archive.fs_meta = data_of(tar);
      if (entry.name == "gzip.meta") archive.gzip_index = data_of(tar);
      if (entry.name == "erofs.fs.meta") other_fs = true;
    }
  } catch (const files::FsError& e) {
    throw FormatError(name, 0, std::string("turboOCI: ") + e.what());
  }
  if (archive.fs_meta.empty()) {
    throw FormatError(name, 0, other_fs ? "turboOCI: its file system is EROFS, which obd cannot build on"
                                        : "not a turboOCI layer: there is no ext4.fs.meta in it");
  }
  return archive;
}

std::shared_ptr<SealedLayer> try_open_turbo_layer(const std::shared_ptr<Blob>& archive, const std::string& digest,
                                                  const std::shared_ptr<Blob>& target, Misses& misses) {
  if (archive->size() > kMaxArchive) throw FormatError(archive->name(), 0, "turboOCI: larger than 256 MiB");
  std::string bytes(archive->size(), '\0');
  if (!archive->try_read(bytes.data(), bytes.size(), 0, misses)) return nullptr;
  if (!digest.empty()) {
    files::Sha256 sha;
    sha.update(bytes);
    const std::string found = files::digest_string(sha.finish());
    if (found != digest) {
      if (archive->distrust(0, bytes.size(), misses)) return nullptr;
      throw FormatError(archive->name(), 0, "turboOCI: the content has digest " + found);
    }
  }
  TurboArchive unpacked = unpack_turbo_archive(bytes, archive->name());
  const auto tar = try_open_target(target, std::move(unpacked.gzip_index), misses);
  if (!tar) return nullptr;
  return SealedLayer::try_open_on(tar, std::make_shared<BytesBlob>(std::move(unpacked.fs_meta), archive->name()), misses);
}

}  // namespace obd
