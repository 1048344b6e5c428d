#include "device/tcmu_ring.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

#include "device/kernel_files.h"
#include "error.h"

namespace obd {
namespace {

constexpr auto kBusyPause = std::chrono::milliseconds(10);
constexpr int kBusyRounds = 3000;
// Longer than a burst of commands pauses.
constexpr int kBriefMilliseconds = 1;

// The ring has one server at a time; the last one holds it until its process is gone.
UniqueFd open_ring(const std::string& path) {
  for (int round = 0;; ++round) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (fd) return fd;
    if (errno != EBUSY || round == kBusyRounds) throw_errno("open " + path);
    std::this_thread::sleep_for(kBusyPause);
  }
}

size_t mapped_size(const std::string& uio_path) {
  const std::string name = uio_path.substr(uio_path.rfind('/') + 1);
  const std::string text = read_attribute("/sys/class/uio/" + name + "/maps/map0/size");
  if (text.empty()) throw_errno("read the size of " + uio_path, ENODEV);
  return std::stoul(text, nullptr, 16);
}

}  // namespace

TcmuRing::TcmuRing(const std::string& uio_path, const std::string& inflight_path, bool anew)
    : fd_(open_ring(uio_path)), inflight_(inflight_path, anew), size_(mapped_size(uio_path)) {
  void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (mapped == MAP_FAILED) throw_errno("map " + uio_path);
  base_ = static_cast<char*>(mapped);
  mailbox_ = reinterpret_cast<tcmu::Mailbox*>(base_);
  if (mailbox_->version != tcmu::kVersion || (mailbox_->flags & tcmu::kAnyOrder) == 0) {
    ::munmap(mapped, size_);
    throw_errno(uio_path + ": a ring of version " + std::to_string(mailbox_->version), EPROTONOSUPPORT);
  }
  ring_ = base_ + mailbox_->ring_offset;
  ring_size_ = mailbox_->ring_size;
  if (anew) {
    inflight_.advance(mailbox_->tail);
  } else {
    inflight_.recover(mailbox_->tail);
  }
}

TcmuRing::~TcmuRing() { ::munmap(base_, size_); }

std::vector<TcmuCommand*> TcmuRing::taken_before() {
  std::vector<TcmuCommand*> taken = inflight_.taken();
  // Killed between copying a command and moving on: it will be taken again.
  if (inflight_.position() != __atomic_load_n(&mailbox_->head, __ATOMIC_ACQUIRE)) {
    const tcmu::Header& next = entry_at(inflight_.position());
    if (next.is_command()) taken.erase(std::remove(taken.begin(), taken.end(), &inflight_.place(next.id)), taken.end());
  }
  return taken;
}

TcmuCommand& TcmuRing::copy_out(const tcmu::Header& entry) {
  const char* start = reinterpret_cast<const char*>(&entry);
  const char* end = start + entry.length();
  tcmu::Command request;
  std::memcpy(&request, start + tcmu::kBody, sizeof request);
  TcmuCommand& command = inflight_.place(entry.id);
  command.id = entry.id;
  command.part_count = static_cast<uint16_t>(std::min<size_t>(request.parts, TcmuCommand::kMaxParts));
  command.data_size = 0;
  for (size_t i = 0; i < command.part_count; ++i) {
    tcmu::Part part;
    std::memcpy(&part, start + tcmu::kParts + i * sizeof part, sizeof part);
    command.parts[i] = {static_cast<uint32_t>(part.offset), static_cast<uint32_t>(part.size)};
    command.data_size += part.size;
  }
  // The command block is the last thing in the entry; nothing behind the ring may be touched.
  const char* cdb = base_ + request.cdb_offset;
  std::memset(command.cdb, 0, sizeof command.cdb);
  std::memcpy(command.cdb, cdb, std::min<size_t>(sizeof command.cdb, static_cast<size_t>(end - cdb)));
  return command;
}

TcmuCommand* TcmuRing::take() {
  // A number that the kernel uses again is only taken when its last answer is settled.
  const std::lock_guard lock(mutex_);
  for (;;) {
    const uint32_t position = inflight_.position();
    if (position == __atomic_load_n(&mailbox_->head, __ATOMIC_ACQUIRE)) return nullptr;
    const tcmu::Header& entry = entry_at(position);
    const uint32_t next = after(position, entry.length());
    if (!entry.is_command()) {
      inflight_.advance(next);  // padding before the end of the ring
      continue;
    }
    TcmuCommand& command = copy_out(entry);
    inflight_.take(command);
    inflight_.advance(next);
    return &command;
  }
}

bool TcmuRing::has_more() const { return inflight_.position() != __atomic_load_n(&mailbox_->head, __ATOMIC_ACQUIRE); }

bool TcmuRing::wait() {
  for (;;) {
    pollfd events{fd_.get(), POLLIN, 0};
    if (::poll(&events, 1, -1) < 0 && errno != EINTR) return false;
    const int error = take_events();
    if (error != EAGAIN) return error == 0;  // else another thread has been quicker
  }
}

bool TcmuRing::wait_briefly() {
  pollfd events{fd_.get(), POLLIN, 0};
  return ::poll(&events, 1, kBriefMilliseconds) > 0 && take_events() == 0;
}

int TcmuRing::take_events() {
  uint32_t events;
  for (;;) {
    if (::read(fd_.get(), &events, sizeof events) >= 0) return 0;
    if (errno != EINTR) return errno;
  }
}

void TcmuRing::answer(TcmuCommand& command, const TcmuAnswer& answer) {
  const std::lock_guard lock(mutex_);
  const uint32_t tail = mailbox_->tail;
  uint32_t position = tail;
  while (!entry_at(position).is_command()) position = after(position, entry_at(position).length());
  tcmu::Header& entry = entry_at(position);
  auto& body = *reinterpret_cast<tcmu::Answer*>(reinterpret_cast<char*>(&entry) + tcmu::kBody);
  inflight_.settle(command, tail, [&] {
    constexpr uint8_t kGood = 0, kCheckCondition = 2;
    entry.id = command.id;
    entry.answer_flags = answer.short_data ? tcmu::Header::kReadLength : 0;
    body.status = answer.good ? kGood : kCheckCondition;
    body.read_length = static_cast<uint32_t>(answer.data_length);
    if (!answer.good) {
      std::memset(body.sense, 0, sizeof body.sense);
      scsi::encode_sense(answer.sense, body.sense);
    }
    __atomic_store_n(&mailbox_->tail, after(position, entry.length()), __ATOMIC_SEQ_CST);
  });
}

void TcmuRing::ring_doorbell() {
  // One at a time: the kernel copies the data of all answers meanwhile, and would keep the others waiting for that.
  if (doorbells_.fetch_add(1) > 0) return;
  for (unsigned seen = 1;;) {
    const uint32_t value = 0;
    while (::write(fd_.get(), &value, sizeof value) < 0 && errno == EINTR) {
    }
    const unsigned since = doorbells_.fetch_sub(seen) - seen;
    if (since == 0) return;
    seen = since;
  }
}

}  // namespace obd
