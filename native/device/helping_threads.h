// Threads that the queues of all devices share. They help a queue whose own thread has more to do than it can, or would
// have to wait for the disk. To ask for one allocates nothing and takes no lock that queues share.
#pragma once
#include <semaphore.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace obd {

class HelpingThreads {
  struct Slot;

 public:
  // `count` may be 0: then nobody ever comes.
  explicit HelpingThreads(unsigned count);
  // Every place is gone by then.
  ~HelpingThreads();
  HelpingThreads(const HelpingThreads&) = delete;
  HelpingThreads& operator=(const HelpingThreads&) = delete;

  size_t count() const { return threads_.size(); }

  // What a queue is helped with.
  class Place {
   public:
    // `help` is called by one of `threads`, which outlive this, for each time somebody asks; it must not throw. Of several
    // places where help is wanted, none waits for ever.
    Place(HelpingThreads& threads, std::function<void()> help);
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

    void ask();
    // Nobody comes from now on, whoever asks. Waits for those who are here: not to be called by one of them.
    void close();

   private:
    HelpingThreads& threads_;
    Slot& slot_;
    const std::function<void()> help_;
  };

 private:
  // Never goes away, so that threads look through all of them without a lock; the next place gets one that is free.
  struct Slot {
    std::atomic<unsigned> asked{0};   // threads that are to come
    std::atomic<unsigned> inside{0};  // threads that help, or look whether they are to
    std::atomic<const std::function<void()>*> help{nullptr};
    std::atomic<Slot*> next{nullptr};
    bool taken = false;  // with mutex_
  };

  Slot& take_slot();
  void serve();
  // Helps where it is wanted: first of all after `last`. Returns where it was.
  Slot* help_somebody(Slot* last);
  bool try_help(Slot& slot);

  sem_t asked_;  // as many as the slots' together, but for those that threads are about to take
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;              // whoever makes or closes a place
  std::condition_variable left_;  // with mutex_
  std::deque<Slot> slots_;
  std::atomic<Slot*> first_{nullptr};
  std::vector<std::thread> threads_;
};

}  // namespace obd
