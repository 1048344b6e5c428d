#include "device/teardown.h"

#include <stdexcept>
#include <thread>
#include <utility>

#include "system/io_thread.h"

namespace obd {

void Steps::begin(std::string step) {
  const std::lock_guard lock(mutex_);
  step_ = std::move(step);
}

std::string Steps::present() const {
  const std::lock_guard lock(mutex_);
  return step_;
}

Teardown::Teardown(std::function<bool(Steps&)> work) : steps_(std::make_shared<Steps>()) {
  std::packaged_task<bool()> task([steps = steps_, work = std::move(work)] { return work(*steps); });
  result_ = task.get_future().share();
  std::thread([task = std::move(task)]() mutable {
    become_io_thread("obd-teardown");
    task();
  }).detach();
}

void Teardown::wait(std::chrono::milliseconds patience) const {
  if (result_.wait_for(patience) == std::future_status::ready) return;
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(patience).count();
  throw std::runtime_error(steps_->present() + " has not ended for " + std::to_string(seconds) + " s");
}

}  // namespace obd
