// A request that is under way: the bytes of its answer that have come, and who waits for its extents. Extents are
// stored, and given to their readers, one after the other as they come whole.
#pragma once
#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "blob/remote_blob.h"
#include "blob/wanted_extents.h"

namespace obd {

struct FetchRequest {
  uint64_t id;
  std::string digest;
  std::string source;  // RemoteBlob::source()
  uint64_t blob_size;
  uint64_t offset;     // bytes
  uint64_t length;
  bool again;          // what came the first time was damaged: another place may have it right
};

// Guarded by the fetch manager's lock, except for bytes of `data` that have been counted in `received`.
struct FetchInFlight {
  std::shared_ptr<RemoteBlob> blob;
  FetchRequest request{};
  uint64_t first_extent = 0;
  std::vector<Waiters> waiters;  // of each extent; none when `bytes` wants it all
  std::function<void(std::string data, std::exception_ptr)> bytes;

  bool foreseen = false;       // nobody waited for it when it was sent
  std::string data;            // of the request's length
  uint64_t came = 0;           // bytes, those beyond the length as well
  size_t settled = 0;          // extents that are done with
  std::vector<size_t> damaged;  // those among them that have to be fetched again
  bool settling = false;       // a thread is at it
  bool ended = false;          // nothing more will come
  std::string failure;         // why, when it ended early

  uint64_t received() const { return std::min(came, request.length); }
  // Where an extent begins in `data`; for waiters.size(), where the last one ends.
  uint64_t start(size_t index) const { return blob->layout().start(first_extent + index) - request.offset; }
  bool next_is_whole() const { return settled < waiters.size() && start(settled + 1) <= received(); }
  // Who waits for an extent that this request will bring; null when it will not.
  Waiters* find(const RemoteBlob* wanted, uint64_t extent);
};

}  // namespace obd
