#include "device/stack_device.h"

#include <mutex>
#include <stdexcept>

#include "ext4/superblock.h"

namespace obd {
namespace {

// What the clean superblock is made from may leave the block cache again before it is read under the
// gate; it is then fetched once more.
constexpr int kSealRounds = 16;

}  // namespace

bool StackDevice::try_read(void* buf, size_t count, uint64_t offset, Misses& misses) {
  const ReadTrace::Scope traced(trace_);
  if (!stack_->try_read(buf, count, offset, misses)) return false;
  bytes_read_.fetch_add(count, std::memory_order_relaxed);
  return true;
}

template <typename Change>
void StackDevice::change(Change make) {
  const std::shared_lock gate(gate_);
  writes_.fetch_add(1, std::memory_order_relaxed);
  try {
    make();
  } catch (const std::exception& e) {
    const std::lock_guard lock(failure_mutex_);
    if (failure_.empty()) failure_ = e.what();
    throw;
  }
}

void StackDevice::write(const void* buf, size_t count, uint64_t offset) {
  change([&] { stack_->write(buf, count, offset); });
  bytes_written_.fetch_add(count, std::memory_order_relaxed);
}

void StackDevice::discard(uint64_t offset, uint64_t count) {
  change([&] { stack_->discard(offset, count); });
}

void StackDevice::flush() {
  const std::shared_lock gate(gate_);
  stack_->flush();
}

StackDevice::Counters StackDevice::counters() const {
  return {writes_.load(std::memory_order_relaxed), bytes_read_.load(std::memory_order_relaxed),
          bytes_written_.load(std::memory_order_relaxed)};
}

std::optional<Stack::Frozen> StackDevice::seal(FetchManager& fetches, std::shared_ptr<WritableLayer> next,
                                               std::optional<uint64_t> if_writes) {
  for (int round = 0;; ++round) {
    Misses misses;
    {
      const std::lock_guard gate(gate_);
      if (!failure_.empty()) throw std::runtime_error("seal: a write to the disk failed before: " + failure_);
      if (if_writes && writes_.load(std::memory_order_relaxed) != *if_writes) return std::nullopt;
      // The kernel updates group descriptors without the superblock: any write may make its counts wrong.
      if (stack_->top()->segments() > 0) {
        const auto read = [&](void* buf, size_t count, uint64_t offset) {
          return stack_->try_read(buf, count, offset, misses);
        };
        try {
          const std::optional<ext4::BlockZero> clean = ext4::clean_block_zero(stack_->size(), read, misses);
          if (clean) stack_->write(clean->data(), clean->size(), 0);
        } catch (const ext4::JournalInUse&) {
          if (if_writes) return std::nullopt;
          throw;
        }
      }
      if (misses.empty()) return stack_->stack_writable(std::move(next));
    }
    if (round == kSealRounds) throw std::runtime_error("seal: the file system's group descriptors do not stay in the block cache");
    fetches.wait_local(misses);
  }
}

}  // namespace obd
