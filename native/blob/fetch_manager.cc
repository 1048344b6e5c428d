#include "blob/fetch_manager.h"

#include <algorithm>
#include <future>
#include <iterator>

namespace obd {
namespace {

constexpr size_t kMaxInFlight = 16;  // requests
// So many of them can always be had for what a reader waits for.
constexpr size_t kKeptForDemand = 4;
constexpr uint64_t kMaxRequest = 4 << 20;      // bytes
constexpr uint64_t kMaxForeseen = 1 << 20;     // bytes of a request nobody waits for
constexpr uint64_t kAheadInRequest = 512 << 10;  // bytes foreseen that go with what a reader waits for
// Extents: 2 MiB, what a link of 1 Gbit/s has under way in 16 ms. All of it is for nothing where a file ends.
constexpr uint64_t kMaxReadAhead = 32;
constexpr unsigned kCompletionThreads = 4;
constexpr auto kForeignPause = std::chrono::milliseconds(5);
// A process that holds an extent for longer has stopped, or has a slower registry than ours.
constexpr auto kForeignPatience = std::chrono::seconds(5);

}  // namespace

FetchManager::FetchManager(Send send, std::function<void(uint64_t)> on_stored)
    : send_(std::move(send)),
      on_stored_(std::move(on_stored)),
      passed_(std::make_shared<RemoteBlob::Passed>([this](RemoteBlob& blob, uint64_t extent) { passed(blob, extent); })),
      workers_(kCompletionThreads, "obd-fetched") {}

FetchManager::~FetchManager() {
  passed_->stop();
  std::vector<uint64_t> ids;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    // What nobody was asked for fails as if it had been sent.
    const auto give_up = [&](std::shared_ptr<RemoteBlob> blob, uint64_t extent, Waiters waiters) {
      auto fetch = std::make_unique<InFlight>();
      const ExtentLayout& layout = blob->layout();
      fetch->request = {next_id_++, blob->name(), blob->source(), blob->size(), layout.start(extent), layout.length(extent), false};
      fetch->first_extent = extent;
      fetch->blob = std::move(blob);
      fetch->waiters.push_back(std::move(waiters));
      in_flight_.emplace(fetch->request.id, std::move(fetch));
    };
    for (WantedExtents* wanted : {&demanded_, &foreseen_}) {
      while (!wanted->empty()) {
        auto [blob, extent] = wanted->next();
        Waiters waiters;
        wanted->take(blob.get(), extent, waiters);
        give_up(std::move(blob), extent, std::move(waiters));
      }
    }
    for (auto& [key, foreign] : foreign_) give_up(std::move(foreign.blob), key.second, std::move(foreign.waiters));
    foreign_.clear();
    for (const auto& [id, fetch] : in_flight_) ids.push_back(id);
  }
  foreign_changed_.notify_all();
  if (foreign_watch_.joinable()) foreign_watch_.join();
  for (const uint64_t id : ids) fail(id, "the device server is ending");
  workers_.stop();
}

Waiters* FetchManager::find_extent(RemoteBlob* blob, uint64_t extent) {
  if (Waiters* waiters = demanded_.find(blob, extent)) return waiters;
  if (Waiters* waiters = foreseen_.find(blob, extent)) return waiters;
  if (const auto found = foreign_.find({blob, extent}); found != foreign_.end()) return &found->second.waiters;
  for (auto& [id, fetch] : in_flight_) {
    if (fetch->blob.get() != blob || extent < fetch->first_extent) continue;
    const uint64_t index = extent - fetch->first_extent;
    if (index < fetch->waiters.size()) return &fetch->waiters[index];
  }
  return nullptr;
}

void FetchManager::when_local(const Misses& misses, Done done) {
  auto waiter = std::make_shared<Waiter>(std::move(done));
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    ++waiter->missing;  // not ready before all of them are counted
    for (const Miss& miss : misses) {
      RemoteBlob& blob = *miss.blob;
      if (Waiters foreseen; foreseen_.take(&blob, miss.extent, foreseen)) {
        demanded_.add(blob, miss.extent, std::move(foreseen));
      }
      if (Waiters* waiters = find_extent(&blob, miss.extent)) {
        // A read that met the same extent twice waits for it once.
        if (std::find(waiters->begin(), waiters->end(), waiter) != waiters->end()) continue;
        waiters->push_back(waiter);
      } else {
        if (blob.has(miss.extent)) continue;
        demanded_.add(blob, miss.extent, {waiter});
      }
      ++waiter->missing;
    }
    read_ahead(misses);
    take_sendable(actions);
    release({waiter}, nullptr, actions);
  }
  act(actions, false);
}

void FetchManager::read_ahead(const Misses& misses) {
  for (size_t i = 0; i < misses.size(); ++i) {
    RemoteBlob& blob = *misses[i].blob;
    const uint64_t first = misses[i].extent;
    while (i + 1 < misses.size() && misses[i + 1].blob == &blob && misses[i + 1].extent == misses[i].extent + 1) ++i;
    read_ahead(blob, first, misses[i].extent + 1);
  }
}

// A read of [first, next) right behind bytes that are here, or on their way, looks like a reader on its way through the
// blob: as much again as lies behind it, up to a limit, is got as well. The next part is asked for when half of that is
// used up, so that the network is never idle. Where a trace has foreseen the read, the trace says what comes next.
void FetchManager::read_ahead(RemoteBlob& blob, uint64_t first, uint64_t next) {
  if (blob.is_foreseen(first)) return;
  const auto is_coming = [&](uint64_t extent) { return blob.is_known(extent) || find_extent(&blob, extent) != nullptr; };
  uint64_t behind = 0;
  while (behind < std::min(kMaxReadAhead, first) && is_coming(first - behind - 1)) ++behind;
  const uint64_t end = std::min(next + behind, blob.layout().count());
  uint64_t ahead = next;
  while (ahead < end && is_coming(ahead)) ++ahead;
  if (ahead == end || 2 * (ahead - next) > behind) return;
  for (uint64_t extent = ahead; extent < end; ++extent) {
    if (!find_extent(&blob, extent) && !blob.has(extent)) foreseen_.add(blob, extent, {});
  }
  blob.call_at((next + end) / 2, passed_);
}

// A reader has come to where the next part has to be asked for.
void FetchManager::passed(RemoteBlob& blob, uint64_t extent) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    read_ahead(blob, extent, extent + 1);
    take_sendable(actions);
  }
  act(actions, false);
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

void FetchManager::prefetch(RemoteBlob& blob, uint64_t first, uint64_t count) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    if (ending_) return;
    for (uint64_t extent = first; extent < first + count && extent < blob.layout().count(); ++extent) {
      blob.foresee(extent);
      if (!find_extent(&blob, extent) && !blob.has(extent)) foreseen_.add(blob, extent, {});
    }
    take_sendable(actions);
  }
  act(actions, false);
}

std::string FetchManager::fetch_bytes(RemoteBlob& blob, uint64_t offset, uint64_t length, bool again) {
  std::promise<std::string> arrived;
  auto fetch = std::make_unique<InFlight>();
  fetch->blob = blob.shared_from_this();
  fetch->request = {0, blob.name(), blob.source(), blob.size(), offset, length, again};
  fetch->bytes = [&arrived](std::string data, std::exception_ptr error) {
    if (error) {
      arrived.set_exception(error);
    } else {
      arrived.set_value(std::move(data));
    }
  };
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    if (ending_) throw FetchError(blob.name(), offset, length, "the device server is ending");
    send_request(std::move(fetch), actions);
  }
  act(actions, false);
  return arrived.get_future().get();
}

void FetchManager::send_request(std::unique_ptr<InFlight> fetch, Actions& actions) {
  const uint64_t id = next_id_++;
  fetch->request.id = id;
  actions.send.push_back(fetch->request);
  in_flight_.emplace(id, std::move(fetch));
}

// Forms requests while there is room for more.
void FetchManager::take_sendable(Actions& actions) {
  while (in_flight_.size() < kMaxInFlight && !demanded_.empty()) take_request(demanded_, kMaxRequest, actions);
  while (in_flight_.size() < kMaxInFlight - kKeptForDemand && !foreseen_.empty()) take_request(foreseen_, kMaxForeseen, actions);
}

// One request of neighbouring extents, as far as this process has to get them itself.
bool FetchManager::take_request(WantedExtents& from, uint64_t limit, Actions& actions) {
  const auto [blob, first] = from.next();
  const ExtentLayout& layout = blob->layout();
  auto fetch = std::make_unique<InFlight>();
  fetch->blob = blob;
  uint64_t length = 0, ahead = 0;
  for (uint64_t extent = first; extent < layout.count(); ++extent) {
    const uint64_t bytes = layout.length(extent);
    const bool is_ahead = from.find(blob.get(), extent) == nullptr;
    if (extent > first && length + bytes > limit) break;
    if (is_ahead && (ahead += bytes) > kAheadInRequest) break;
    Waiters waiters;
    if (!from.take(blob.get(), extent, waiters) && !foreseen_.take(blob.get(), extent, waiters)) break;
    if (!claim(*blob, extent, waiters, actions)) {
      if (fetch->waiters.empty()) return false;
      break;
    }
    if (fetch->waiters.empty()) fetch->first_extent = extent;
    length += bytes;
    fetch->waiters.push_back(std::move(waiters));
  }
  fetch->request = {0, blob->name(), blob->source(), blob->size(), layout.start(fetch->first_extent), length, false};
  send_request(std::move(fetch), actions);
  return true;
}

// Whether we are to fetch this extent. Otherwise it is here, or another process is at it: `waiters` are told
// then, or later.
bool FetchManager::claim(RemoteBlob& blob, uint64_t extent, Waiters& waiters, Actions& actions) {
  if (!blob.cache().try_lock(extent)) {
    foreign_[{&blob, extent}] = {blob.shared_from_this(), std::move(waiters), std::chrono::steady_clock::now()};
    if (!foreign_watch_.joinable()) foreign_watch_ = std::thread([this] { watch_foreign(); });
    foreign_changed_.notify_one();
    return false;
  }
  if (!blob.has(extent)) return true;
  blob.cache().unlock(extent);
  release(waiters, nullptr, actions);
  return false;
}

// Looks now and then whether other processes are done with what we wait for, and takes it over when they died
// or take too long.
void FetchManager::watch_foreign() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (foreign_.empty()) {
      foreign_changed_.wait(lock);
      continue;
    }
    foreign_changed_.wait_for(lock, kForeignPause);
    Actions actions;
    for (auto at = foreign_.begin(); at != foreign_.end();) {
      RemoteBlob& blob = *at->second.blob;
      const uint64_t extent = at->first.second;
      const bool free = blob.cache().try_lock(extent);
      if (!free && std::chrono::steady_clock::now() - at->second.since < kForeignPatience) {
        ++at;
        continue;
      }
      auto fetch = std::make_unique<InFlight>();
      fetch->blob = std::move(at->second.blob);
      Waiters waiters = std::move(at->second.waiters);
      at = foreign_.erase(at);
      if (fetch->blob->has(extent)) {
        if (free) blob.cache().unlock(extent);
        release(waiters, nullptr, actions);
        continue;
      }
      const ExtentLayout& layout = blob.layout();
      fetch->request = {0, blob.name(), blob.source(), blob.size(), layout.start(extent), layout.length(extent), false};
      fetch->first_extent = extent;
      fetch->waiters.push_back(std::move(waiters));
      send_request(std::move(fetch), actions);
    }
    if (actions.send.empty() && actions.ready.empty()) continue;
    lock.unlock();
    act(actions, false);
    lock.lock();
  }
}

void FetchManager::complete(uint64_t id, std::string data) {
  auto shared = std::make_shared<std::string>(std::move(data));
  workers_.run([this, id, shared] { settle(id, std::move(*shared), ""); });
}

void FetchManager::fail(uint64_t id, const std::string& reason) {
  workers_.run([this, id, reason] { settle(id, "", reason.empty() ? "unknown error" : reason); });
}

// The request stays findable until its extents are stored, so that nobody fetches them a second time.
void FetchManager::settle(uint64_t id, std::string data, std::string failure) {
  InFlight* fetch = nullptr;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    if (found == in_flight_.end() || found->second->settling) return;
    fetch = found->second.get();
    fetch->settling = true;
    note(fetch->request.digest, {fetch->request.offset, fetch->request.offset + data.size()});
  }
  const FetchRequest& request = fetch->request;
  if (failure.empty() && data.size() != request.length) {
    failure = "got " + std::to_string(data.size()) + " bytes instead of " + std::to_string(request.length);
  }
  if (failure.empty() && !fetch->bytes) {
    const std::string damage = damage_in(*fetch, data);
    if (!damage.empty() && ask_again(id)) return;
    failure = damage.empty() ? store(*fetch, data) : "the registry sends damaged content: " + damage;
  }
  std::exception_ptr error;
  if (!failure.empty()) {
    error = std::make_exception_ptr(FetchError(request.digest, request.offset, request.length, failure));
  }
  Actions actions;
  std::unique_ptr<InFlight> finished;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    finished = std::move(found->second);
    in_flight_.erase(found);
    for (size_t i = 0; i < finished->waiters.size(); ++i) {
      finished->blob->cache().unlock(finished->first_extent + i);
      release(finished->waiters[i], error, actions);
    }
    if (!ending_) take_sendable(actions);
  }
  if (finished->bytes) finished->bytes(std::move(data), error);
  act(actions, true);
}

// What is wrong with the first bad extent, or nothing.
std::string FetchManager::damage_in(const InFlight& fetch, const std::string& data) {
  const ExtentLayout& layout = fetch.blob->layout();
  for (size_t i = 0; i < fetch.waiters.size(); ++i) {
    const uint64_t extent = fetch.first_extent + i;
    const std::string damage = fetch.blob->check(extent, data.data() + (layout.start(extent) - fetch.request.offset));
    if (!damage.empty()) return damage;
  }
  return "";
}

// Sends a request a second time; false when that was done already.
bool FetchManager::ask_again(uint64_t id) {
  Actions actions;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    if (found->second->request.again || ending_) return false;
    std::unique_ptr<InFlight> fetch = std::move(found->second);
    in_flight_.erase(found);
    fetch->request.again = true;
    fetch->settling = false;
    send_request(std::move(fetch), actions);
  }
  act(actions, true);
  return true;
}

// Returns what went wrong, or nothing.
std::string FetchManager::store(const InFlight& fetch, const std::string& data) {
  try {
    const ExtentLayout& layout = fetch.blob->layout();
    for (size_t i = 0; i < fetch.waiters.size(); ++i) {
      const uint64_t extent = fetch.first_extent + i;
      fetch.blob->store(extent, data.data() + (layout.start(extent) - fetch.request.offset));
    }
    if (on_stored_) on_stored_(data.size());
    return fetch.blob->check_whole();
  } catch (const std::exception& e) {
    return std::string("block cache: ") + e.what();
  }
}

void FetchManager::release(const Waiters& waiters, const std::exception_ptr& error, Actions& actions) {
  for (const std::shared_ptr<Waiter>& waiter : waiters) {
    if (error && !waiter->error) waiter->error = error;
    if (--waiter->missing == 0) actions.ready.push_back(waiter);
  }
}

// `here`: this is a completion thread.
void FetchManager::act(const Actions& actions, bool here) {
  for (const FetchRequest& request : actions.send) send_(request);
  for (const std::shared_ptr<Waiter>& waiter : actions.ready) {
    if (here) {
      waiter->done(waiter->error);
    } else {
      workers_.run([waiter] { waiter->done(waiter->error); });
    }
  }
}

void FetchManager::note(const std::string& digest, BlobRange range) {
  fetched_[digest] += range.end - range.begin;
  if (!notes_ranges_ || range.begin == range.end) return;
  std::vector<BlobRange>& ranges = fetched_ranges_[digest];
  if (!ranges.empty() && ranges.back().end == range.begin) {
    ranges.back().end = range.end;
  } else {
    ranges.push_back(range);
  }
}

std::map<std::string, uint64_t> FetchManager::fetched() const {
  const std::lock_guard lock(mutex_);
  return fetched_;
}

void FetchManager::note_ranges() {
  const std::lock_guard lock(mutex_);
  notes_ranges_ = true;
}

std::map<std::string, std::vector<BlobRange>> FetchManager::fetched_ranges() const {
  const std::lock_guard lock(mutex_);
  return fetched_ranges_;
}

}  // namespace obd
