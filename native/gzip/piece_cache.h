// Decompressed pieces of gzip files, kept for the next read: the least recently used go first.
#pragma once
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace obd {

class PieceCache {
 public:
  using Piece = std::shared_ptr<const std::string>;
  // At most `limit` bytes are kept.
  explicit PieceCache(size_t limit) : limit_(limit) {}
  // The one all files of this process share.
  static PieceCache& shared();

  // Null when it is not there.
  Piece find(const void* file, size_t piece);
  void keep(const void* file, size_t piece, Piece bytes);
  // Forgets all pieces of a file.
  void forget(const void* file);

 private:
  using Key = std::pair<const void*, size_t>;
  struct Kept {
    Piece bytes;
    std::list<Key>::iterator use;
  };
  void drop(std::map<Key, Kept>::iterator at);

  const size_t limit_;
  std::mutex mutex_;
  size_t size_ = 0;
  std::list<Key> uses_;  // latest first
  std::map<Key, Kept> kept_;
};

}  // namespace obd
