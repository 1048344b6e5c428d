// Threads that fill new files: one thread makes the names in order, these copy content and set the metadata
// of what was made, through the open descriptor.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "files/make_dirs.h"
#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

// What a copied entry is to have.
struct Metadata {
  Owner owner;
  uint32_t mode;  // 07777
  int64_t mtime;
};

class ContentPool {
 public:
  explicit ContentPool(Task& task);
  ~ContentPool();

  struct Job {
    const Tree* tree;
    const Node* source;
    Fd target;
    Metadata metadata;
    std::string shown;  // the target, for messages
  };
  // Hands a file over; waits while too many are open. Throws what an earlier job failed with.
  void submit(Job job);
  // Waits for all jobs. Throws what one of them failed with.
  void finish();

 private:
  void work();
  void copy(Job& job, std::vector<char>& buffer);

  Task& task_;
  std::mutex mutex_;
  std::condition_variable has_work_, has_room_;
  std::deque<Job> queue_;
  size_t running_ = 0;
  bool closing_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace obd::files
