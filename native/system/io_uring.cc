#include "system/io_uring.h"

#include <sys/mman.h>
#include <sys/syscall.h>

#include <cstring>

#include "error.h"

#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

namespace obd {

IoUring::IoUring(unsigned entries, unsigned flags) {
  io_uring_params params{};
  params.flags = flags;
  fd_ = UniqueFd(static_cast<int>(::syscall(__NR_io_uring_setup, entries, &params)));
  if (!fd_) throw_errno("set up io_uring");
  if (!(params.features & IORING_FEAT_SINGLE_MMAP)) throw_errno("set up io_uring: the kernel is too old", ENOSYS);
  const size_t sq_bytes = params.sq_off.array + params.sq_entries * sizeof(unsigned);
  const size_t cq_bytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
  rings_ = map(sq_bytes > cq_bytes ? sq_bytes : cq_bytes, IORING_OFF_SQ_RING);
  entry_shift_ = flags & IORING_SETUP_SQE128 ? 7 : 6;
  entries_ = map(static_cast<size_t>(params.sq_entries) << entry_shift_, IORING_OFF_SQES);

  auto* base = static_cast<char*>(rings_.data);
  const auto field = [base](uint32_t offset) { return reinterpret_cast<unsigned*>(base + offset); };
  sq_head_ = field(params.sq_off.head);
  sq_tail_ = field(params.sq_off.tail);
  sq_flags_ = field(params.sq_off.flags);
  cq_head_ = field(params.cq_off.head);
  cq_tail_ = field(params.cq_off.tail);
  sq_mask_ = *field(params.sq_off.ring_mask);
  cq_mask_ = *field(params.cq_off.ring_mask);
  sq_size_ = params.sq_entries;
  cqes_ = reinterpret_cast<const io_uring_cqe*>(base + params.cq_off.cqes);
  // Slot i of the submission ring always names entry i.
  unsigned* slots = field(params.sq_off.array);
  for (unsigned i = 0; i < sq_size_; ++i) slots[i] = i;
  // Completions of a ring with deferred work only arrive when they are asked for.
  if (flags & IORING_SETUP_DEFER_TASKRUN) enter_flags_ = IORING_ENTER_GETEVENTS;
}

IoUring::~IoUring() {
  for (const Mapping& mapping : {rings_, entries_}) {
    if (mapping.data != nullptr) ::munmap(mapping.data, mapping.size);
  }
}

IoUring::Mapping IoUring::map(size_t size, uint64_t offset) {
  void* data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), static_cast<off_t>(offset));
  if (data == MAP_FAILED) throw_errno("map an io_uring");
  return {data, size};
}

io_uring_sqe& IoUring::next() {
  if (*sq_tail_ + prepared_ - __atomic_load_n(sq_head_, __ATOMIC_ACQUIRE) >= sq_size_) submit(0);
  const size_t slot = (*sq_tail_ + prepared_++) & sq_mask_;
  void* entry = static_cast<char*>(entries_.data) + (slot << entry_shift_);
  std::memset(entry, 0, size_t{1} << entry_shift_);
  return *static_cast<io_uring_sqe*>(entry);
}

void IoUring::submit(unsigned wait) {
  __atomic_store_n(sq_tail_, *sq_tail_ + prepared_, __ATOMIC_RELEASE);
  prepared_ = 0;
  for (;;) {
    const unsigned pending = *sq_tail_ - __atomic_load_n(sq_head_, __ATOMIC_ACQUIRE);
    const unsigned flags = wait > 0 ? IORING_ENTER_GETEVENTS : enter_flags_;
    const long submitted = ::syscall(__NR_io_uring_enter, fd_.get(), pending, wait, flags, nullptr, 0);
    if (submitted < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != EBUSY) throw_errno("submit to io_uring");
    }
    if (submitted == static_cast<long>(pending)) return;
  }
}

}  // namespace obd
