// Waits that are short again and again are spent looking, since going to sleep and being woken take longer: a disk
// that is read block by block is then answered at once. As soon as one is long, the next ones sleep straight away, so
// that an idle disk costs nothing.
#pragma once
#include <sched.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace obd {

// The waits of one thread.
class ShortWaits {
 public:
  // Until `ready()` is true, or `sleep()` has returned: true, or what that returned.
  template <typename Ready, typename Sleep>
  bool wait(Ready ready, Sleep sleep) {
    const Clock::time_point begin = Clock::now();
    if (short_ && look(ready)) return true;
    const bool result = sleep();
    short_ = Clock::now() - begin <= kShort;
    return result;
  }

  // Looks for a short time at most: true as soon as `ready()` is.
  template <typename Ready>
  static bool look(Ready ready) {
    const Place place;
    if (!place.free()) return false;
    const Clock::time_point until = Clock::now() + kShort;
    for (unsigned round = 1; !ready(); ++round) {
      if (round % kLooksPerYield != 0) continue;
      if (Clock::now() > until) return false;
      ::sched_yield();
    }
    return true;
  }

 private:
  using Clock = std::chrono::steady_clock;
  // About what sleeping costs at most, on a slow machine.
  static constexpr auto kShort = std::chrono::microseconds(200);
  static constexpr unsigned kLooksPerYield = 16;

  // Half of the processors are left to those who do something; a machine with one has none to spare.
  class Place {
   public:
    Place() : free_(taken_.fetch_add(1) < processors_ / 2) {}
    ~Place() { --taken_; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    bool free() const { return free_; }

   private:
    static inline std::atomic<unsigned> taken_{0};
    static inline const unsigned processors_ = std::thread::hardware_concurrency();  // libc opens a file for it
    const bool free_;
  };

  bool short_ = false;
};

}  // namespace obd
