#include "device/ublk_queue.h"

#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include <cstddef>
#include <cstring>
#include <utility>

#include "device/short_waits.h"
#include "error.h"
#include "system/io_thread.h"
#include "system/io_uring.h"
#include "system/sharded_mutex.h"

#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace obd {
namespace {

constexpr uint64_t kWake = UINT64_MAX;  // user data of the read of the eventfd; others are tags
constexpr size_t kDescriptorBytes = UblkQueue::kDepth * sizeof(ublksrv_io_desc);
static_assert(kDescriptorBytes <= 4096, "one page of descriptors");
// From this size on, waking another thread costs less than what it takes off this one.
constexpr size_t kLargeRead = 32 << 10;
// The kernel completes requests while we go on with the next ones: not one by one, nor all at the end.
constexpr unsigned kSubmitEvery = 8;
// Reads that a helper carries out before somebody else's work may have its turn.
constexpr unsigned kHelp = 4;
constexpr unsigned kTagShift = 25, kQueueShift = 41;  // of a request's data in the character device

constexpr uint32_t fetch_command() { return static_cast<uint32_t>(_IOWR('u', UBLK_IO_FETCH_REQ, ublksrv_io_cmd)); }
constexpr uint32_t answer_command() {
  return static_cast<uint32_t>(_IOWR('u', UBLK_IO_COMMIT_AND_FETCH_REQ, ublksrv_io_cmd));
}

uint64_t offset_of(const ublksrv_io_desc& request) { return request.start_sector * 512; }
uint64_t count_of(const ublksrv_io_desc& request) { return uint64_t{request.nr_sectors} * 512; }

// The data of a request, as the character device shows it.
class RequestData {
 public:
  RequestData(int device, uint16_t queue, uint16_t tag)
      : device_(device), offset_(UBLKSRV_IO_BUF_OFFSET + (uint64_t{queue} << kQueueShift) + (uint64_t{tag} << kTagShift)) {}
  // Each returns 0 or an errno.
  int give(const void* data, size_t count) const {
    return moved(::pwrite(device_, data, count, static_cast<off_t>(offset_)), count);
  }
  int take(void* data, size_t count) const { return moved(::pread(device_, data, count, static_cast<off_t>(offset_)), count); }

 private:
  static int moved(ssize_t done, size_t count) {
    if (done < 0) return errno;
    return static_cast<size_t>(done) == count ? 0 : EIO;
  }
  int device_;
  uint64_t offset_;
};

}  // namespace

// What the thread works with.
class UblkQueue::Session {
 public:
  explicit Session(std::shared_ptr<UblkQueue> queue)
      : queue_(std::move(queue)), ring_(2 * kDepth, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG),
        buffer_(new char[kMaxTransfer]) {
    requested_.reserve(kDepth);
    answers_.reserve(kDepth);
  }

  // Offers every tag to the kernel. Throws std::system_error when it does not want one.
  void begin() {
    for (uint16_t tag = 0; tag < kDepth; ++tag) command(fetch_command(), {tag, 0});
    read_wake();
    ring_.submit(0);
    // What is refused is refused at once; an accepted command stays until there is a request.
    ring_.for_each_completion([this](uint64_t user_data, int result) {
      if (user_data == kWake) return;
      if (result < 0) throw_errno("fetch from ublk queue " + std::to_string(queue_->number_), -result);
      requested_.push_back(static_cast<uint16_t>(user_data));
    });
  }

  // Serves until the device is stopped.
  void serve() {
    while (fetching_ > 0) {
      while (requested_begin_ < requested_.size()) {
        handle(requested_[requested_begin_++]);
        if (ring_.prepared() >= kSubmitEvery) ring_.submit(0);
      }
      requested_.clear();
      requested_begin_ = 0;
      wait();
      ring_.for_each_completion([this](uint64_t user_data, int result) {
        if (user_data == kWake) {
          queue_->take_parked(answers_);
          for (const Answer& answer : answers_) {
            --with_others_;
            commit(answer);
          }
          read_wake();
        } else if (result == UBLK_IO_RES_OK) {
          requested_.push_back(static_cast<uint16_t>(user_data));
        } else {
          --fetching_;
        }
      });
    }
  }

 private:
  void command(uint32_t operation, Answer answer) {
    ublksrv_io_cmd io{};
    io.q_id = queue_->number_;
    io.tag = answer.tag;
    io.result = answer.result;
    io_uring_sqe& entry = ring_.next();
    entry.opcode = IORING_OP_URING_CMD;
    entry.fd = queue_->device_->get();
    entry.cmd_op = operation;
    entry.user_data = answer.tag;
    std::memcpy(reinterpret_cast<char*>(&entry) + offsetof(io_uring_sqe, cmd), &io, sizeof io);
  }

  // Submits what is prepared, and waits until there are completions.
  void wait() {
    const auto ready = [this] {
      if (ring_.prepared() > 0) ring_.submit(0);
      return ring_.has_more();
    };
    const auto sleep = [this] {
      ring_.submit(1);
      return false;
    };
    if (waits_.wait(ready, sleep)) ring_.submit(0);
  }

  void commit(Answer answer) { command(answer_command(), answer); }

  void read_wake() {
    io_uring_sqe& entry = ring_.next();
    entry.opcode = IORING_OP_READ;
    entry.fd = queue_->wake_.get();
    entry.addr = reinterpret_cast<uint64_t>(&wake_count_);
    entry.len = sizeof wake_count_;
    entry.user_data = kWake;
  }

  void handle(uint16_t tag) {
    const int result = carry_out(tag);
    if (result == DiskRequests::kParked) {
      ++with_others_;
    } else {
      commit({tag, result});
    }
  }

  // The result to commit, or kParked.
  int carry_out(uint16_t tag) {
    const ublksrv_io_desc& request = queue_->descriptors_[tag];
    if (ublksrv_get_op(&request) == UBLK_IO_OP_FLUSH) return -queue_->requests_.flush();  // has no range
    const uint64_t offset = offset_of(request), count = count_of(request);
    if (!queue_->requests_.contains(offset, count)) return -EIO;
    switch (ublksrv_get_op(&request)) {
      case UBLK_IO_OP_READ:
        return read(tag, offset, count);
      case UBLK_IO_OP_WRITE:
        return write(tag, offset, count);
      case UBLK_IO_OP_DISCARD:
      case UBLK_IO_OP_WRITE_ZEROES:
        return -queue_->requests_.discard(offset, count);
      default:
        return -EOPNOTSUPP;
    }
  }

  int read(uint16_t tag, uint64_t offset, uint64_t count) {
    if (count > kMaxTransfer) return -EIO;
    // One thread alone cannot decompress as fast as large reads come in, and others' answers would wait for it.
    if (count >= kLargeRead && (with_others_ > 0 || requested_begin_ < requested_.size())) {
      queue_->read_aside(tag);
      return DiskRequests::kParked;
    }
    int error = queue_->requests_.read(buffer_.get(), count, offset, AnswerRead{queue_, tag, count});
    if (error == DiskRequests::kOnDisk) queue_->read_aside(tag);
    if (error == DiskRequests::kOnDisk || error == DiskRequests::kParked) return DiskRequests::kParked;
    if (error == 0) error = RequestData(queue_->device_->get(), queue_->number_, tag).give(buffer_.get(), count);
    return error == 0 ? static_cast<int>(count) : -error;
  }

  int write(uint16_t tag, uint64_t offset, uint64_t count) {
    if (count > kMaxTransfer) return -EIO;
    int error = RequestData(queue_->device_->get(), queue_->number_, tag).take(buffer_.get(), count);
    if (error == 0) error = queue_->requests_.write(buffer_.get(), count, offset);
    return error == 0 ? static_cast<int>(count) : -error;
  }

  const std::shared_ptr<UblkQueue> queue_;
  IoUring ring_;
  ShortWaits waits_;
  const std::unique_ptr<char[]> buffer_;
  uint64_t wake_count_ = 0;
  unsigned fetching_ = kDepth;  // tags that the kernel has, or that we have a request of
  unsigned with_others_ = 0;    // requests that other threads carry out, or whose answers have not been taken yet
  std::vector<uint16_t> requested_;  // tags of requests to carry out, from requested_begin_ on
  size_t requested_begin_ = 0;
  std::vector<Answer> answers_;  // that others have given, while they are committed
};

UblkQueue::UblkQueue(std::shared_ptr<UniqueFd> device, uint16_t number, DiskRequests requests, HelpingThreads& helpers)
    : device_(std::move(device)),
      number_(number),
      requests_(std::move(requests)),
      wake_(::eventfd(0, EFD_CLOEXEC)),
      most_helpers_(helpers.count()),
      help_(helpers, [this] { help(); }) {
  if (!wake_) throw_errno("create an eventfd");
  parked_.reserve(kDepth);
  // The driver lays the descriptors of each queue out as if it had the greatest depth.
  const uint64_t offset = uint64_t{number} * UBLK_MAX_QUEUE_DEPTH * sizeof(ublksrv_io_desc);
  void* mapped = ::mmap(nullptr, kDescriptorBytes, PROT_READ, MAP_SHARED | MAP_POPULATE, device_->get(), static_cast<off_t>(offset));
  if (mapped == MAP_FAILED) throw_errno("map the descriptors of a ublk queue");
  descriptors_ = static_cast<const ublksrv_io_desc*>(mapped);
}

UblkQueue::~UblkQueue() {
  if (thread_.joinable()) thread_.detach();  // the device could not be stopped
  ::munmap(const_cast<ublksrv_io_desc*>(descriptors_), kDescriptorBytes);
}

void UblkQueue::start() {
  std::promise<void> began;
  std::future<void> beginning = began.get_future();
  thread_ = std::thread([self = shared_from_this(), began = std::move(began)]() mutable {
    become_io_thread("obd-ublk");
    std::unique_ptr<Session> session;
    try {
      session = std::make_unique<Session>(self);
      session->begin();
    } catch (...) {
      return began.set_exception(std::current_exception());
    }
    began.set_value();
    {
      const ShardedMutex::ForQueue reads(self->number_);
      session->serve();
    }
    self->help_.close();  // here, since one of those who help may be the last to have the queue
  });
  try {
    beginning.get();
  } catch (...) {
    join();
    throw;
  }
}

void UblkQueue::join() {
  if (thread_.joinable()) thread_.join();
}

void UblkQueue::answer_parked(Answer answer) {
  {
    const std::lock_guard lock(parked_mutex_);
    parked_.push_back(answer);
    if (parked_.size() > 1) return;  // whoever gave the first one wakes the thread, which takes all
  }
  const uint64_t one = 1;
  while (::write(wake_.get(), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

void UblkQueue::AnswerRead::operator()(const void* data, int error) const {
  if (error == 0) error = RequestData(queue->device_->get(), queue->number_, tag).give(data, count);
  queue->answer_parked({tag, error == 0 ? static_cast<int>(count) : -error});
}

void UblkQueue::read_aside(uint16_t tag) {
  {
    const std::lock_guard lock(aside_mutex_);
    aside_.put(tag);
    if (helping_ >= most_helpers_) return;
    ++helping_;
  }
  help_.ask();
}

std::optional<uint16_t> UblkQueue::take_aside() {
  const std::lock_guard lock(aside_mutex_);
  const std::optional<uint16_t> tag = aside_.take();
  if (!tag) --helping_;
  return tag;
}

void UblkQueue::help() {
  const ShardedMutex::ForQueue reads(number_);
  for (unsigned done = 0; done < kHelp; ++done) {
    const std::optional<uint16_t> tag = take_aside();
    if (!tag) return;
    const ublksrv_io_desc& request = descriptors_[*tag];
    const uint64_t count = count_of(request);
    requests_.read_waiting(count, offset_of(request), nullptr, AnswerRead{shared_from_this(), *tag, count});
  }
  help_.ask();
}

void UblkQueue::take_parked(std::vector<Answer>& answers) {
  answers.clear();
  const std::lock_guard lock(parked_mutex_);
  answers.swap(parked_);
}

}  // namespace obd
