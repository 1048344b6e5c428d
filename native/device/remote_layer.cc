#include "device/remote_layer.h"

#include <chrono>
#include <stdexcept>
#include <thread>

#include "blob/local_blob.h"
#include "blob/opening_blob.h"
#include "error.h"
#include "zfile/stored_blocks.h"

namespace obd {
namespace {

// Rounds of fetching: the tail, the index, the index inside, and some for damaged bytes.
constexpr int kOpenRounds = 32;
constexpr auto kOtherPause = std::chrono::milliseconds(5);
// After this we do not wait for another process that opens the same layer.
constexpr auto kOtherPatience = std::chrono::seconds(5);

// One process at a time fetches what opening takes.
class OpeningLock {
 public:
  explicit OpeningLock(CacheFile& file) : file_(file) {
    const auto deadline = std::chrono::steady_clock::now() + kOtherPatience;
    while (!file_.try_lock_opening() && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(kOtherPause);
  }
  ~OpeningLock() { file_.unlock_opening(); }
  OpeningLock(const OpeningLock&) = delete;
  OpeningLock& operator=(const OpeningLock&) = delete;

 private:
  CacheFile& file_;
};

uint64_t offset_of(const Blob& blob) {
  const auto* window = dynamic_cast<const WindowBlob*>(&blob);
  return window ? window->offset() : 0;
}

std::shared_ptr<SealedLayer> try_rounds(FetchManager& fetches, const std::shared_ptr<OpeningBlob>& opening) {
  bool again = false;
  for (int round = 0; round < kOpenRounds; ++round) {
    Misses none;
    try {
      if (std::shared_ptr<SealedLayer> layer = SealedLayer::try_open_from_tail(opening, none)) return layer;
    } catch (const FormatError&) {
      // Not everything that is read here has a checksum: what came once may have been damaged on the way.
      if (again) throw;
      again = true;
      opening->start_over();
    }
    opening->fetch_missing(fetches);
  }
  throw std::runtime_error(opening->name() + ": its index takes too many requests to read");
}

}  // namespace

std::shared_ptr<SealedLayer> open_remote_layer(FetchManager& fetches, const std::shared_ptr<RemoteBlob>& blob) {
  const OpeningLock lock(blob->cache());
  const auto opening = std::make_shared<OpeningBlob>(blob);
  opening->begin(fetches);
  std::shared_ptr<SealedLayer> layer = try_rounds(fetches, opening);
  if (const std::shared_ptr<ZFile>& zfile = layer->zfile()) {
    blob->set_blocks(std::make_unique<StoredBlocks>(zfile->header(), zfile->jump_table(), offset_of(*layer->payload())));
  }
  opening->finish();
  return layer;
}

}  // namespace obd
