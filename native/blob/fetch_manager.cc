#include "blob/fetch_manager.h"

#include <algorithm>
#include <future>

namespace obd {
namespace {

constexpr size_t kMaxInFlight = 16;  // requests
constexpr uint64_t kMaxRequest = 4 << 20;  // bytes
constexpr uint64_t kMaxReadAhead = 8;  // extents
constexpr unsigned kCompletionThreads = 4;

}  // namespace

// One caller of when_local.
struct FetchManager::Waiter {
  explicit Waiter(Done done) : done(std::move(done)) {}
  Done done;
  size_t missing = 0;  // guarded by the manager's mutex
  std::exception_ptr error;
};

FetchManager::FetchManager(Send send) : send_(std::move(send)), workers_(kCompletionThreads, "obd-fetched") {}

FetchManager::~FetchManager() {
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    for (auto& [blob, wanted] : wanted_) {
      for (auto& [extent, waiters] : wanted.extents) {
        auto fetch = std::make_unique<InFlight>();
        fetch->blob = wanted.blob;
        const uint64_t id = next_id_++;
        fetch->request = {id, blob->name(), blob->source(), extent * kExtentSize, blob->extent_length(extent)};
        fetch->first_extent = extent;
        fetch->waiters.push_back(std::move(waiters));
        in_flight_.emplace(id, std::move(fetch));
      }
    }
    wanted_.clear();
    turn_.clear();
    for (const auto& [id, fetch] : in_flight_) ids.push_back(id);
  }
  for (const uint64_t id : ids) fail(id, "the device server is ending");
  workers_.stop();
}

FetchManager::Waiters* FetchManager::find_extent(RemoteBlob* blob, uint64_t extent) {
  if (const auto wanted = wanted_.find(blob); wanted != wanted_.end()) {
    const auto found = wanted->second.extents.find(extent);
    if (found != wanted->second.extents.end()) return &found->second;
  }
  for (auto& [id, fetch] : in_flight_) {
    if (fetch->blob.get() != blob || extent < fetch->first_extent) continue;
    const uint64_t index = extent - fetch->first_extent;
    if (index < fetch->waiters.size()) return &fetch->waiters[index];
  }
  return nullptr;
}

void FetchManager::when_local(const Misses& misses, Done done) {
  auto waiter = std::make_shared<Waiter>(std::move(done));
  std::vector<FetchRequest> requests;
  {
    const std::lock_guard lock(mutex_);
    for (const Miss& miss : misses) {
      if (Waiters* waiters = find_extent(miss.blob, miss.extent)) {
        // A read that met the same extent twice waits for it once.
        if (std::find(waiters->begin(), waiters->end(), waiter) != waiters->end()) continue;
        waiters->push_back(waiter);
      } else {
        if (miss.blob->has(miss.extent)) continue;
        want(*miss.blob, miss.extent, waiter);
      }
      ++waiter->missing;
    }
    if (waiter->missing == 0) workers_.run([waiter] { waiter->done(nullptr); });
    read_ahead(misses);
    requests = take_sendable();
  }
  for (const FetchRequest& request : requests) send_(request);
}

// `waiter` may be null: nobody waits for it yet.
void FetchManager::want(RemoteBlob& blob, uint64_t extent, std::shared_ptr<Waiter> waiter) {
  Wanted& wanted = wanted_[&blob];
  if (!wanted.blob) wanted.blob = blob.shared_from_this();
  if (wanted.extents.empty()) turn_.push_back(&blob);
  Waiters& waiters = wanted.extents[extent];
  if (waiter) waiters.push_back(std::move(waiter));
}

// A miss right behind bytes that are here already looks like a reader on its way through the blob: as much
// again as lies behind it, up to a limit, goes into the same request.
void FetchManager::read_ahead(const Misses& misses) {
  for (size_t i = 0; i < misses.size(); ++i) {
    RemoteBlob& blob = *misses[i].blob;
    const uint64_t first = misses[i].extent;
    while (i + 1 < misses.size() && misses[i + 1].blob == &blob && misses[i + 1].extent == misses[i].extent + 1) ++i;
    const uint64_t next = misses[i].extent + 1;
    const uint64_t end = std::min(next + blob.run_before(first, kMaxReadAhead), blob.extents());
    for (uint64_t extent = next; extent < end; ++extent) {
      if (find_extent(&blob, extent) || blob.has(extent)) break;
      want(blob, extent, nullptr);
    }
  }
}

void FetchManager::wait_local(const Misses& misses) {
  std::promise<void> arrived;
  when_local(misses, [&arrived](std::exception_ptr error) {
    if (error) {
      arrived.set_exception(error);
    } else {
      arrived.set_value();
    }
  });
  arrived.get_future().get();
}

// Forms requests of neighbouring extents, the blobs taking turns, while there is room for more.
std::vector<FetchRequest> FetchManager::take_sendable() {
  std::vector<FetchRequest> requests;
  while (in_flight_.size() < kMaxInFlight && !turn_.empty()) {
    const auto wanted = wanted_.find(turn_.front());
    turn_.pop_front();
    auto fetch = std::make_unique<InFlight>();
    fetch->blob = wanted->second.blob;
    RemoteBlob& blob = *fetch->blob;
    auto& extents = wanted->second.extents;
    fetch->first_extent = extents.begin()->first;
    uint64_t length = 0;
    for (uint64_t extent = fetch->first_extent; !extents.empty() && extents.begin()->first == extent; ++extent) {
      if (length + blob.extent_length(extent) > kMaxRequest) break;
      length += blob.extent_length(extent);
      fetch->waiters.push_back(std::move(extents.begin()->second));
      extents.erase(extents.begin());
    }
    if (extents.empty()) {
      wanted_.erase(wanted);
    } else {
      turn_.push_back(&blob);
    }
    const uint64_t id = next_id_++;
    fetch->request = {id, blob.name(), blob.source(), fetch->first_extent * kExtentSize, length};
    requests.push_back(fetch->request);
    in_flight_.emplace(id, std::move(fetch));
  }
  return requests;
}

void FetchManager::complete(uint64_t id, std::string data) {
  auto shared = std::make_shared<std::string>(std::move(data));
  workers_.run([this, id, shared] { settle(id, *shared, ""); });
}

void FetchManager::fail(uint64_t id, const std::string& reason) {
  workers_.run([this, id, reason] { settle(id, "", reason.empty() ? "unknown error" : reason); });
}

// The request stays findable until its extents are stored, so that nobody fetches them a second time.
void FetchManager::settle(uint64_t id, const std::string& data, std::string failure) {
  InFlight* fetch = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    if (found == in_flight_.end() || found->second->settling) return;
    fetch = found->second.get();
    fetch->settling = true;
    fetched_[fetch->request.digest] += data.size();
  }
  const FetchRequest& request = fetch->request;
  if (failure.empty() && data.size() != request.length) {
    failure = "got " + std::to_string(data.size()) + " bytes instead of " + std::to_string(request.length);
  }
  if (failure.empty()) failure = store(*fetch, data);
  std::exception_ptr error;
  if (!failure.empty()) {
    error = std::make_exception_ptr(FetchError(request.digest, request.offset, request.length, failure));
  }
  std::vector<std::shared_ptr<Waiter>> ready;
  std::vector<FetchRequest> next;
  std::unique_ptr<InFlight> finished;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    finished = std::move(found->second);
    in_flight_.erase(found);
    for (const Waiters& waiters : finished->waiters) {
      for (const std::shared_ptr<Waiter>& waiter : waiters) {
        if (error && !waiter->error) waiter->error = error;
        if (--waiter->missing == 0) ready.push_back(waiter);
      }
    }
    next = take_sendable();
  }
  for (const FetchRequest& request : next) send_(request);
  for (const std::shared_ptr<Waiter>& waiter : ready) waiter->done(waiter->error);
}

// Returns what went wrong, or nothing.
std::string FetchManager::store(const InFlight& fetch, const std::string& data) {
  try {
    for (uint64_t done = 0; done < data.size(); done += kExtentSize) {
      fetch.blob->store(fetch.first_extent + done / kExtentSize, data.data() + done);
    }
    return "";
  } catch (const std::exception& e) {
    return std::string("block cache: ") + e.what();
  }
}

std::map<std::string, uint64_t> FetchManager::fetched() const {
  const std::lock_guard lock(mutex_);
  return fetched_;
}

}  // namespace obd
