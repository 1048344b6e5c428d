// A small io_uring for one thread: entries are prepared, submitted together, and their completions read.
#pragma once
#include <linux/io_uring.h>

#include <cstdint>

#include "system/unique_fd.h"

#ifndef IORING_SETUP_TASKRUN_FLAG
#define IORING_SETUP_TASKRUN_FLAG (1U << 9)
#define IORING_SQ_TASKRUN (1U << 2)
#endif

namespace obd {

class IoUring {
 public:
  // `flags`: IORING_SETUP_*. The thread that makes it is the only one to use it. Throws std::system_error;
  // ENOSYS or EPERM mean that the kernel has io_uring switched off.
  explicit IoUring(unsigned entries, unsigned flags = 0);
  ~IoUring();
  IoUring(const IoUring&) = delete;
  IoUring& operator=(const IoUring&) = delete;

  // The next entry to fill in, all zeros. What is prepared already is submitted when there is no room.
  io_uring_sqe& next();
  // Entries that are not submitted yet.
  unsigned prepared() const { return prepared_; }
  // True when submit(0) leaves completions to take. Of a ring with IORING_SETUP_TASKRUN_FLAG; asks no kernel.
  bool has_more() const {
    return *cq_head_ != __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE) || (__atomic_load_n(sq_flags_, __ATOMIC_RELAXED) & IORING_SQ_TASKRUN) != 0;
  }
  // Submits what is prepared and waits until at least `wait` completions are there.
  void submit(unsigned wait);

  // Calls `take(user_data, result)` for each completion that is there; these may prepare new entries.
  template <typename F>
  void for_each_completion(F take) {
    unsigned head = *cq_head_;
    while (head != __atomic_load_n(cq_tail_, __ATOMIC_ACQUIRE)) {
      const io_uring_cqe& entry = cqes_[head & cq_mask_];
      const uint64_t user_data = entry.user_data;
      const int result = entry.res;
      __atomic_store_n(cq_head_, ++head, __ATOMIC_RELEASE);
      take(user_data, result);
    }
  }

 private:
  struct Mapping {
    void* data = nullptr;
    size_t size = 0;
  };
  Mapping map(size_t size, uint64_t offset);

  UniqueFd fd_;
  Mapping rings_, entries_;
  unsigned entry_shift_ = 0, enter_flags_ = 0;
  unsigned sq_size_ = 0, sq_mask_ = 0, cq_mask_ = 0;
  unsigned *sq_head_ = nullptr, *sq_tail_ = nullptr, *sq_flags_ = nullptr, *cq_head_ = nullptr, *cq_tail_ = nullptr;
  const io_uring_cqe* cqes_ = nullptr;
  unsigned prepared_ = 0;
};

}  // namespace obd
