// Taking a device away waits in the kernel for whatever is under way there, for as long as that takes: it is done on a
// thread of its own, so that whoever asked for it can be told what it waits for.
#pragma once
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>

namespace obd {

// What a teardown is doing, for others to see.
class Steps {
 public:
  // `step` as in "STEP has not ended".
  void begin(std::string step);
  std::string present() const;

 private:
  mutable std::mutex mutex_;
  std::string step_;
};

class Teardown {
 public:
  // Begins. The thread keeps what `work` holds until that has returned.
  explicit Teardown(std::function<bool(Steps&)> work);

  // Throws std::runtime_error, which names the step, when it has not ended in this time: it goes on, and may be waited
  // for again.
  void wait(std::chrono::milliseconds patience) const;
  // Once it has ended: what the work has returned, or thrown.
  bool result() const { return result_.get(); }

 private:
  const std::shared_ptr<Steps> steps_;
  std::shared_future<bool> result_;
};

}  // namespace obd
