#include "device/helping_threads.h"

#include "system/io_thread.h"

namespace obd {

HelpingThreads::HelpingThreads(unsigned count) {
  ::sem_init(&asked_, 0, 0);
  threads_.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    threads_.emplace_back([this] {
      become_io_thread("obd-helper");
      serve();
    });
  }
}

HelpingThreads::~HelpingThreads() {
  stopping_ = true;
  for (size_t i = 0; i < threads_.size(); ++i) ::sem_post(&asked_);
  for (std::thread& thread : threads_) thread.join();
  ::sem_destroy(&asked_);
}

void HelpingThreads::serve() {
  for (Slot* last = nullptr;;) {
    while (::sem_wait(&asked_) != 0) {
    }
    if (stopping_) return;
    last = help_somebody(last);
  }
}

HelpingThreads::Slot* HelpingThreads::help_somebody(Slot* last) {
  // Another thread may take what this one was woken for, but then it leaves something else.
  for (Slot* slot = last;;) {
    slot = slot ? slot->next.load() : nullptr;
    if (!slot) slot = first_.load();
    if (try_help(*slot)) return slot;
  }
}

bool HelpingThreads::try_help(Slot& slot) {
  if (slot.asked == 0) return false;
  ++slot.inside;
  unsigned asked = slot.asked;
  while (asked > 0 && !slot.asked.compare_exchange_weak(asked, asked - 1)) {
  }
  if (asked > 0) {
    if (const auto* help = slot.help.load()) (*help)();
  }
  --slot.inside;
  if (!slot.help.load()) {
    const std::lock_guard lock(mutex_);
    left_.notify_all();
  }
  return asked > 0;
}

HelpingThreads::Slot& HelpingThreads::take_slot() {
  const std::lock_guard lock(mutex_);
  for (Slot& slot : slots_) {
    // In this order: who has taken the last request is inside until it is met.
    if (slot.taken || slot.asked > 0 || slot.inside > 0) continue;
    slot.taken = true;
    return slot;
  }
  Slot& slot = slots_.emplace_back();
  slot.taken = true;
  slot.next = first_.load();
  first_ = &slot;
  return slot;
}

HelpingThreads::Place::Place(HelpingThreads& threads, std::function<void()> help)
    : threads_(threads), slot_(threads.take_slot()), help_(std::move(help)) {
  slot_.help = &help_;
}

HelpingThreads::Place::~Place() {
  close();
  const std::lock_guard lock(threads_.mutex_);
  slot_.taken = false;
}

void HelpingThreads::Place::ask() {
  ++slot_.asked;
  ::sem_post(&threads_.asked_);
}

void HelpingThreads::Place::close() {
  slot_.help = nullptr;
  std::unique_lock lock(threads_.mutex_);
  threads_.left_.wait(lock, [this] { return slot_.inside == 0; });
}

}  // namespace obd
