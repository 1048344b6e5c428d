#include "device/tcmu_server.h"

#include <algorithm>
#include <climits>
#include <cstring>

#include "system/io_thread.h"
#include "system/sharded_mutex.h"

namespace obd {
namespace {

// The kernel completes commands while we go on with the next ones: not one by one, nor all at the end. A large one
// counts as several.
constexpr unsigned kDoorbellEvery = 8, kLargeCounts = 4;
// From this size on, waking another thread costs less than what it takes off this one.
constexpr size_t kLargeRead = 32 << 10;
// Commands that a helper answers before somebody else's work may have its turn.
constexpr unsigned kHelp = 32;
constexpr size_t kUsualDepth = 256;  // commands
constexpr size_t kQueue = 0;         // the ring is the disk's only one

// As long as the longest transfer; the thread's next call is given the same place.
char* buffer() {
  thread_local Scratch scratch;
  return scratch.get(scsi::kMaxTransfer);
}

scsi::Sense sense_of(int error, const scsi::Sense& failure) {
  if (error == ENOSPC) return scsi::kSpaceAllocationFailed;
  return error == EROFS ? scsi::kWriteProtected : failure;
}

TcmuAnswer refusal(const scsi::Sense& sense) {
  TcmuAnswer answer;
  answer.good = false;
  answer.sense = sense;
  return answer;
}

bool all_zeros(const char* data, size_t size) {
  return std::all_of(data, data + size, [](char c) { return c == 0; });
}

}  // namespace

TcmuServer::TcmuServer(DiskRequests requests, HelpingThreads& helpers, const std::string& serial,
                       const std::string& uio_path, const std::string& inflight_path, bool anew)
    : requests_(std::move(requests)),
      disk_{requests_.disk().size() / scsi::kBlock, requests_.disk().writable(), serial},
      ring_(uio_path, inflight_path, anew),
      // A busy disk leaves one to reads that wait for the disk, of any device.
      most_helpers_(static_cast<unsigned>(std::max<size_t>(helpers.count(), 1) - 1)),
      on_disk_(kUsualDepth),
      more_(helpers, [this] { help(); }),
      waiting_(helpers, [this] { read_waiting(); }) {}

TcmuServer::~TcmuServer() {
  if (thread_.joinable()) thread_.detach();  // the backstore could not be removed
}

void TcmuServer::start() {
  thread_ = std::thread([self = shared_from_this()] {
    become_io_thread("obd-tcmu");
    self->serve();
  });
}

void TcmuServer::join() {
  if (thread_.joinable()) thread_.join();
}

void TcmuServer::serve() {
  const ShardedMutex::ForQueue reads(kQueue);
  for (TcmuCommand* command : ring_.taken_before()) handle(*command);
  do {
    answer_commands(UINT_MAX);
  } while (wait());
  // Here, since one of those who help may be the last to have this.
  more_.close();
  waiting_.close();
}

bool TcmuServer::wait() {
  return waits_.wait([this] { return ring_.has_more(); }, [this] { return ring_.wait(); });
}

unsigned TcmuServer::answer_commands(unsigned most) {
  unsigned answered = 0;
  for (TcmuCommand* command; answered < most && (command = ring_.take()) != nullptr; ++answered) {
    handle(*command);
    if (unannounced_ >= kDoorbellEvery) announce();
  }
  announce();
  return answered;
}

void TcmuServer::get_help() {
  if (helping_ >= most_helpers_) return;
  if (helping_++ < most_helpers_) {
    more_.ask();
  } else {
    --helping_;  // another thread has been quicker
  }
}

void TcmuServer::help() {
  const ShardedMutex::ForQueue reads(kQueue);
  unsigned answered = 0, now;
  do {
    now = answer_commands(kHelp - answered);
    answered += now;
    // What comes next is not left to the ring's own thread, which may be kept from running.
  } while (now > 0 && answered < kHelp && (ShortWaits::look([this] { return ring_.has_more(); }) || ring_.wait_briefly()));
  if (answered == kHelp) {
    more_.ask();
  } else {
    --helping_;
  }
}

void TcmuServer::read_aside(TcmuCommand& command) {
  {
    const std::lock_guard lock(on_disk_mutex_);
    on_disk_.put(&command);
  }
  waiting_.ask();
}

void TcmuServer::read_waiting() {
  const ShardedMutex::ForQueue reads(kQueue);
  std::optional<TcmuCommand*> command;
  {
    const std::lock_guard lock(on_disk_mutex_);
    command = on_disk_.take();
  }
  if (!command) return;
  const scsi::Request request = scsi::parse((*command)->cdb, disk_);
  char* const place = place_of(**command);
  requests_.read_waiting(request.count, request.offset, place, AnswerRead{shared_from_this(), *command, request.count, place});
}

void TcmuServer::AnswerRead::operator()(const void* data, int error) const {
  if (error == 0 && data != place) server->scatter(*command, data, size);
  server->ring_.answer(*command, error == 0 ? TcmuAnswer() : refusal(sense_of(error, scsi::kReadError)));
  server->ring_.ring_doorbell();
}

void TcmuServer::answer(TcmuCommand& command, const TcmuAnswer& answer) {
  const unsigned counts = command.data_size < kLargeRead ? 1 : kLargeCounts;
  ring_.answer(command, answer);
  unannounced_ += counts;
}

void TcmuServer::announce() {
  if (unannounced_.exchange(0) > 0) ring_.ring_doorbell();
}

void TcmuServer::finish(TcmuCommand& command, int error, const scsi::Sense& sense) {
  answer(command, error == 0 ? TcmuAnswer() : refusal(sense_of(error, sense)));
}

void TcmuServer::handle(TcmuCommand& command) {
  const scsi::Request request = scsi::parse(command.cdb, disk_);
  switch (request.kind) {
    case Kind::good:
      return give(command, nullptr, 0);
    case Kind::refuse:
      return answer(command, refusal(request.sense));
    case Kind::data_in:
      return give(command, request.data.data(), request.data.size());
    case Kind::read:
      return read(command, request);
    case Kind::write:
      return write(command, request);
    case Kind::write_same:
      return write_same(command, request);
    case Kind::unmap:
      return unmap(command);
    case Kind::flush:
      return finish(command, requests_.flush(), scsi::kWriteError);
  }
}

// Answers with this much data, which may be less than there is room for.
void TcmuServer::give(TcmuCommand& command, const void* data, size_t size) {
  size = std::min<uint64_t>(size, command.data_size);
  scatter(command, data, size);
  TcmuAnswer result;
  result.short_data = size < command.data_size;
  result.data_length = size;
  answer(command, result);
}

void TcmuServer::read(TcmuCommand& command, const scsi::Request& request) {
  const size_t size = request.count;
  if (command.data_size < size) return answer(command, refusal(scsi::kInvalidField));
  char* const place = place_of(command);
  // One thread alone cannot decompress as fast as large reads come in.
  if (size >= kLargeRead && ring_.has_more()) get_help();
  char* const target = place ? place : buffer();
  const int error = requests_.read(target, size, request.offset, AnswerRead{shared_from_this(), &command, size, place});
  if (error == DiskRequests::kOnDisk) return read_aside(command);
  if (error == DiskRequests::kParked) return;
  if (error == 0 && !place) scatter(command, target, size);
  finish(command, error, scsi::kReadError);
}

void TcmuServer::write(TcmuCommand& command, const scsi::Request& request) {
  if (command.data_size < request.count) return answer(command, refusal(scsi::kInvalidField));
  finish(command, requests_.write(gathered(command, request.count), request.count, request.offset), scsi::kWriteError);
}

void TcmuServer::write_same(TcmuCommand& command, const scsi::Request& request) {
  if (!request.zeroes && command.data_size < scsi::kBlock) return answer(command, refusal(scsi::kInvalidField));
  const char* block = request.zeroes ? nullptr : gathered(command, scsi::kBlock);
  if (block == nullptr || all_zeros(block, scsi::kBlock)) {
    return finish(command, requests_.discard(request.offset, request.count), scsi::kWriteError);
  }
  const std::string pattern(block, scsi::kBlock);
  for (size_t at = 0; at < scsi::kMaxTransfer; at += scsi::kBlock) pattern.copy(buffer() + at, scsi::kBlock);
  int error = 0;
  for (uint64_t done = 0; done < request.count && error == 0;) {
    const uint64_t piece = std::min<uint64_t>(scsi::kMaxTransfer, request.count - done);
    error = requests_.write(buffer(), piece, request.offset + done);
    done += piece;
  }
  finish(command, error, scsi::kWriteError);
}

void TcmuServer::unmap(TcmuCommand& command) {
  std::vector<scsi::Range> ranges;
  scsi::Sense sense;
  const size_t size = std::min<uint64_t>(command.data_size, scsi::kMaxTransfer);
  const auto* list = reinterpret_cast<const uint8_t*>(gathered(command, size));
  if (!scsi::parse_unmap(list, size, disk_, ranges, sense)) return answer(command, refusal(sense));
  int error = 0;
  for (const scsi::Range& range : ranges) {
    if (error == 0) error = requests_.discard(range.offset, range.count);
  }
  finish(command, error, scsi::kWriteError);
}

const char* TcmuServer::gathered(const TcmuCommand& command, size_t size) {
  if (command.part_count == 1) return ring_.data(command.parts[0]);
  size_t done = 0;
  for (size_t i = 0; i < command.part_count && done < size; ++i) {
    const size_t piece = std::min<size_t>(command.parts[i].size, size - done);
    std::memcpy(buffer() + done, ring_.data(command.parts[i]), piece);
    done += piece;
  }
  return buffer();
}

void TcmuServer::scatter(const TcmuCommand& command, const void* data, size_t size) {
  const char* from = static_cast<const char*>(data);
  for (size_t i = 0; i < command.part_count && size > 0; ++i) {
    const size_t piece = std::min<size_t>(command.parts[i].size, size);
    std::memcpy(ring_.data(command.parts[i]), from, piece);
    from += piece;
    size -= piece;
  }
}

}  // namespace obd
