// A few threads that run queued work in order of arrival.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace obd {

class WorkerThreads {
 public:
  // `name`: at most 15 characters, seen in ps and top.
  WorkerThreads(unsigned count, const std::string& name);
  // Runs what is queued, then ends.
  ~WorkerThreads();
  WorkerThreads(const WorkerThreads&) = delete;
  WorkerThreads& operator=(const WorkerThreads&) = delete;

  // `work` must not throw.
  void run(std::function<void()> work);
  // Runs what is queued and ends the threads; work that is added later is dropped.
  void stop();

 private:
  void serve();
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> queue_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace obd
