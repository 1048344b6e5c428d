#include "blob/fetch_manager.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <iterator>

namespace obd {
namespace {

constexpr size_t kMaxInFlight = 16;  // requests
// So many of them can always be had for what a reader waits for.
constexpr size_t kKeptForDemand = 4;
// So many of them are for what nobody waits for: enough to fill a link, few enough that the first to be sent is the
// first to come.
constexpr size_t kMaxForeseenInFlight = 6;
constexpr uint64_t kMaxRequest = 4 << 20;      // bytes
constexpr uint64_t kMaxForeseen = 1 << 20;     // bytes of a request nobody waits for
constexpr uint64_t kAheadInRequest = 1 << 20;  // bytes foreseen that go with what a reader waits for
// Extents that are fetched where a blob is read for the first time: a registry 20 ms away sends 256 KiB in the time it
// takes to ask for them. Aligned, so that what lies before is got as well.
constexpr uint64_t kFirstTouch = 4;
// Extents: 2 MiB, what a link of 1 Gbit/s has under way in 16 ms. All of it is for nothing where a file ends.
constexpr uint64_t kMaxReadAhead = 32;
constexpr const char* kEnding = "the device server is ending";
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
      auto fetch = std::make_shared<FetchInFlight>();
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
  for (const uint64_t id : ids) fail(id, kEnding);
  workers_.stop();
}

Waiters* FetchManager::find_extent(RemoteBlob* blob, uint64_t extent) {
  if (Waiters* waiters = demanded_.find(blob, extent)) return waiters;
  if (Waiters* waiters = foreseen_.find(blob, extent)) return waiters;
  if (const auto found = foreign_.find({blob, extent}); found != foreign_.end()) return &found->second.waiters;
  for (auto& [id, fetch] : in_flight_) {
    if (Waiters* waiters = fetch->find(blob, extent)) return waiters;
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
// blob: as much again as lies behind it, up to a limit, is got as well. The next part is asked for when a quarter of that
// is used up, so that the network is never idle. With less behind it, the surroundings of the read are got. Where a trace
// has foreseen the read, the trace says what comes next.
void FetchManager::read_ahead(RemoteBlob& blob, uint64_t first, uint64_t next) {
  if (blob.is_foreseen(first)) return;
  const auto is_coming = [&](uint64_t extent) { return blob.is_known(extent) || find_extent(&blob, extent) != nullptr; };
  uint64_t behind = 0;
  while (behind < std::min(kMaxReadAhead, first) && is_coming(first - behind - 1)) ++behind;
  const uint64_t group = first - first % kFirstTouch;
  if (behind == 0) foresee(blob, group, first);
  const uint64_t around = group + kFirstTouch - std::min(next, group + kFirstTouch);
  const uint64_t wanted = behind + (next - first) < kFirstTouch ? around : std::max(behind, around);
  const uint64_t end = std::min(next + wanted, blob.layout().count());
  uint64_t ahead = next;
  while (ahead < end && is_coming(ahead)) ++ahead;
  if (ahead < end && 4 * (ahead - next) <= 3 * wanted) {
    foresee(blob, ahead, end);
    blob.call_at(next + wanted / 4, passed_);
  }
  // Who comes to the end of what was got around his first read is on his way as well.
  if (wanted == around && around > 0) blob.call_at(group + kFirstTouch - 1, passed_);
}

// Extents to be got, as far as they are not there or on their way.
void FetchManager::foresee(RemoteBlob& blob, uint64_t first, uint64_t end) {
  for (uint64_t extent = first; extent < end; ++extent) {
    if (!find_extent(&blob, extent) && !blob.has(extent)) foreseen_.add(blob, extent, {});
  }
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
    const uint64_t end = std::min(first + count, blob.layout().count());
    for (uint64_t extent = first; extent < end; ++extent) blob.foresee(extent);
    foresee(blob, first, end);
    take_sendable(actions);
  }
  act(actions, false);
}

std::string FetchManager::fetch_bytes(RemoteBlob& blob, uint64_t offset, uint64_t length, bool again) {
  std::promise<std::string> arrived;
  auto fetch = std::make_shared<FetchInFlight>();
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
    if (ending_) throw FetchError(blob.name(), offset, length, kEnding);
    send_request(std::move(fetch), actions);
  }
  act(actions, false);
  return arrived.get_future().get();
}

void FetchManager::send_request(std::shared_ptr<FetchInFlight> fetch, Actions& actions) {
  const uint64_t id = next_id_++;
  fetch->request.id = id;
  actions.send.push_back(fetch->request);
  in_flight_.emplace(id, std::move(fetch));
}

// Forms requests while there is room for more.
void FetchManager::take_sendable(Actions& actions) {
  while (in_flight_.size() < kMaxInFlight && !demanded_.empty()) take_request(demanded_, kMaxRequest, actions);
  const auto foreseen = [this] {
    return static_cast<size_t>(std::count_if(in_flight_.begin(), in_flight_.end(), [](const auto& fetch) { return fetch.second->foreseen; }));
  };
  while (in_flight_.size() < kMaxInFlight - kKeptForDemand && foreseen() < kMaxForeseenInFlight && !foreseen_.empty()) {
    take_request(foreseen_, kMaxForeseen, actions);
  }
}

// One request of neighbouring extents, as far as this process has to get them itself.
bool FetchManager::take_request(WantedExtents& from, uint64_t limit, Actions& actions) {
  const auto [blob, first] = from.next();
  const ExtentLayout& layout = blob->layout();
  auto fetch = std::make_shared<FetchInFlight>();
  fetch->blob = blob;
  fetch->foreseen = &from == &foreseen_;
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
      auto fetch = std::make_shared<FetchInFlight>();
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

void FetchManager::receive(uint64_t id, const char* data, size_t count) {
  std::shared_ptr<FetchInFlight> fetch;
  size_t used = 0;
  uint64_t at = 0;
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    if (found == in_flight_.end() || found->second->ended) return;
    fetch = found->second;
    at = fetch->received();
    used = static_cast<size_t>(std::min<uint64_t>(count, fetch->request.length - at));
    if (fetch->data.empty()) fetch->data.resize(fetch->request.length);
  }
  std::memcpy(fetch->data.data() + at, data, used);
  {
    const std::lock_guard lock(mutex_);
    fetch->came += count;
    if (fetch->settling || !fetch->next_is_whole()) return;
  }
  workers_.run([this, id] { settle(id); });
}

void FetchManager::complete(uint64_t id) { end(id, ""); }

void FetchManager::fail(uint64_t id, const std::string& reason) { end(id, reason.empty() ? "unknown error" : reason); }

void FetchManager::end(uint64_t id, const std::string& failure) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = in_flight_.find(id);
    if (found == in_flight_.end() || found->second->ended) return;
    FetchInFlight& fetch = *found->second;
    fetch.ended = true;
    fetch.failure = failure;
    if (failure.empty() && fetch.came != fetch.request.length) {
      fetch.failure = "got " + std::to_string(fetch.came) + " bytes instead of " + std::to_string(fetch.request.length);
    }
  }
  workers_.run([this, id] { settle(id); });
}

// Stores the extents that have come whole, in order, and ends the request after the last. One thread at a time; the
// request stays findable until its extents are stored, so that nobody fetches them a second time.
void FetchManager::settle(uint64_t id) {
  std::unique_lock lock(mutex_);
  const auto found = in_flight_.find(id);
  if (found == in_flight_.end() || found->second->settling) return;
  const std::shared_ptr<FetchInFlight> fetch = found->second;
  fetch->settling = true;
  while (fetch->next_is_whole()) {
    lock.unlock();
    bool damaged = false;
    const std::string problem = store(*fetch, fetch->settled, damaged);
    Actions actions;
    lock.lock();
    settle_extent(*fetch, problem, damaged, actions);
    lock.unlock();
    act(actions, true);
    lock.lock();
  }
  fetch->settling = false;
  if (!fetch->ended) return;
  Actions actions;
  in_flight_.erase(id);
  finish(*fetch, actions);
  lock.unlock();
  act(actions, true);
  if (fetch->settled == 0) return;
  const uint64_t kept = fetch->blob->keep_plain(fetch->first_extent, fetch->first_extent + fetch->settled, fetch->data.data());
  if (on_stored_) on_stored_(kept);
}

// What is wrong with an extent, or nothing after it was stored.
std::string FetchManager::store(const FetchInFlight& fetch, size_t index, bool& damaged) {
  const uint64_t extent = fetch.first_extent + index;
  const char* const data = fetch.data.data() + fetch.start(index);
  const std::string damage = fetch.blob->check(extent, data);
  damaged = !damage.empty();
  if (damaged) return "the registry sends damaged content: " + damage;
  try {
    fetch.blob->store(extent, data);
    if (on_stored_) on_stored_(fetch.start(index + 1) - fetch.start(index));
    return fetch.blob->check_whole();
  } catch (const std::exception& e) {
    return std::string("block cache: ") + e.what();
  }
}

// Its readers hear of the next extent, unless it is damaged for the first time.
void FetchManager::settle_extent(FetchInFlight& fetch, const std::string& problem, bool damaged, Actions& actions) {
  const size_t index = fetch.settled++;
  const uint64_t extent = fetch.first_extent + index, offset = fetch.blob->layout().start(extent), length = fetch.blob->layout().length(extent);
  note(fetch.request.digest, {offset, offset + length});
  if (damaged && !fetch.request.again && !ending_) {
    fetch.damaged.push_back(index);
    return;
  }
  std::exception_ptr error;
  if (!problem.empty()) error = std::make_exception_ptr(FetchError(fetch.request.digest, offset, length, problem));
  fetch.blob->cache().unlock(extent);
  release(fetch.waiters[index], error, actions);
}

// Nothing more comes: what is missing fails, what was damaged is asked for again.
void FetchManager::finish(FetchInFlight& fetch, Actions& actions) {
  const FetchRequest& request = fetch.request;
  const uint64_t stored = fetch.bytes ? 0 : fetch.start(fetch.settled);
  note(request.digest, {request.offset + stored, request.offset + fetch.received()});
  std::exception_ptr error;
  if (!fetch.failure.empty()) {
    error = std::make_exception_ptr(FetchError(request.digest, request.offset + stored, request.length - stored, fetch.failure));
  }
  for (size_t index = fetch.settled; index < fetch.waiters.size(); ++index) {
    fetch.blob->cache().unlock(fetch.first_extent + index);
    release(fetch.waiters[index], error, actions);
  }
  if (fetch.bytes) actions.bytes.push_back([bytes = std::move(fetch.bytes), data = std::move(fetch.data), error] { bytes(data, error); });
  if (!ending_) {
    ask_again(fetch, actions);
    take_sendable(actions);
    return;
  }
  for (const size_t index : fetch.damaged) {
    fetch.blob->cache().unlock(fetch.first_extent + index);
    release(fetch.waiters[index], std::make_exception_ptr(FetchError(request.digest, request.offset, request.length, kEnding)), actions);
  }
}

// One request for each run of damaged extents.
void FetchManager::ask_again(FetchInFlight& fetch, Actions& actions) {
  for (size_t at = 0; at < fetch.damaged.size();) {
    const size_t first = fetch.damaged[at];
    auto again = std::make_shared<FetchInFlight>();
    again->blob = fetch.blob;
    again->first_extent = fetch.first_extent + first;
    for (; at < fetch.damaged.size() && fetch.damaged[at] == first + again->waiters.size(); ++at) {
      again->waiters.push_back(std::move(fetch.waiters[fetch.damaged[at]]));
    }
    again->request = fetch.request;
    again->request.offset += fetch.start(first);
    again->request.length = fetch.start(first + again->waiters.size()) - fetch.start(first);
    again->request.again = true;
    send_request(std::move(again), actions);
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
  for (const std::function<void()>& bytes : actions.bytes) bytes();
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
