// Threads that several queues share: whoever asks is helped, as often as it asks, and nobody waits for the others.
#include <doctest/doctest.h>

#include <chrono>
#include <future>
#include <memory>

#include "allocations.h"
#include "device/fifo.h"
#include "device/helping_threads.h"

using namespace obd;
using namespace obd::test;

namespace {

constexpr auto kSoon = std::chrono::seconds(10);
constexpr auto kAMoment = std::chrono::milliseconds(20);

// Counts up to a number that somebody waits for.
class Count {
 public:
  void add() {
    const std::lock_guard lock(mutex_);
    ++value_;
    changed_.notify_all();
  }
  bool reaches(unsigned wanted) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kSoon, [&] { return value_ >= wanted; });
  }
  unsigned value() {
    const std::lock_guard lock(mutex_);
    return value_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  unsigned value_ = 0;
};

}  // namespace

TEST_CASE("help comes as often as it is asked for, on other threads") {
  HelpingThreads threads(3);
  Count first, second;
  std::atomic<bool> here{false};
  const auto caller = std::this_thread::get_id();
  HelpingThreads::Place one(threads, [&] {
    if (std::this_thread::get_id() == caller) here = true;
    first.add();
  });
  HelpingThreads::Place other(threads, [&] { second.add(); });
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) {
        one.ask();
        if (round % 2 == 0) other.ask();
      }
    });
  }
  for (std::thread& thread : callers) thread.join();
  CHECK(first.reaches(8000));
  CHECK(second.reaches(4000));
  std::this_thread::sleep_for(kAMoment);
  CHECK(first.value() == 8000);
  CHECK(second.value() == 4000);
  CHECK_FALSE(here);
}

TEST_CASE("to ask for help, and to help, allocates nothing") {
  HelpingThreads threads(2);
  std::vector<std::unique_ptr<HelpingThreads::Place>> places;
  std::atomic<size_t> helped{0}, by_helpers{0};
  for (int i = 0; i < 10; ++i) {
    places.push_back(std::make_unique<HelpingThreads::Place>(threads, [&] {
      thread_local const size_t before = allocations_so_far();
      by_helpers += allocations_so_far() - before;
      ++helped;
    }));
  }
  const size_t before = allocations_so_far();
  for (int round = 0; round < 1000; ++round) {
    for (const auto& place : places) place->ask();
  }
  CHECK(allocations_so_far() == before);
  places.clear();
  CHECK(by_helpers == 0);
  const std::unique_ptr<char[]> one(new char[100]);
  CHECK(allocations_so_far() > before);  // the count works
}

TEST_CASE("one queue that always has work does not keep another from being helped") {
  HelpingThreads threads(1);
  std::atomic<bool> stop{false};
  std::unique_ptr<HelpingThreads::Place> busy;
  std::promise<void> begun;
  busy = std::make_unique<HelpingThreads::Place>(threads, [&, first = true]() mutable {
    if (std::exchange(first, false)) begun.set_value();
    if (!stop) busy->ask();
  });
  Count helped;
  HelpingThreads::Place other(threads, [&] { helped.add(); });
  busy->ask();
  begun.get_future().get();
  other.ask();
  CHECK(helped.reaches(1));
  stop = true;
  busy->close();
}

TEST_CASE("a place that is closed waits for who helps there, and is not helped any more") {
  HelpingThreads threads(2);
  std::promise<void> begun, go_on;
  std::atomic<unsigned> ended{0};
  HelpingThreads::Place place(threads, [&] {
    begun.set_value();
    go_on.get_future().get();
    ++ended;
  });
  place.ask();
  begun.get_future().get();
  std::future<void> closed = std::async(std::launch::async, [&] { place.close(); });
  CHECK(closed.wait_for(kAMoment) == std::future_status::timeout);
  CHECK(ended == 0);
  go_on.set_value();
  closed.get();
  CHECK(ended == 1);
  place.ask();  // a second promise would throw

  Count helped;
  HelpingThreads::Place next(threads, [&] { helped.add(); });
  next.ask();
  CHECK(helped.reaches(1));
  std::this_thread::sleep_for(kAMoment);
  CHECK(helped.value() == 1);
  CHECK(ended == 1);
}

TEST_CASE("places come and go while others are helped") {
  HelpingThreads threads(4);
  std::vector<std::thread> queues;
  std::atomic<unsigned> wrong{0};
  for (int i = 0; i < 8; ++i) {
    queues.emplace_back([&] {
      for (unsigned round = 0; round < 300; ++round) {
        // What is asked for again at the end is for this place alone: the next one has its own count.
        std::atomic<unsigned> helped{0};
        Count all;
        HelpingThreads::Place place(threads, [&] {
          ++helped;
          all.add();
        });
        for (unsigned n = 0; n < round % 5; ++n) place.ask();
        if (!all.reaches(round % 5)) ++wrong;
        if (round % 2 == 0) {
          place.close();
          if (helped != round % 5) ++wrong;
        } else {
          place.ask();
        }
      }
    });
  }
  for (std::thread& thread : queues) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("without threads nobody comes, and nothing hangs") {
  HelpingThreads none(0);
  bool helped = false;
  HelpingThreads::Place place(none, [&] { helped = true; });
  place.ask();
  place.close();
  CHECK_FALSE(helped);
}

TEST_CASE("a fifo gives back in order, and grows when it has to") {
  Fifo<int> fifo(2);
  CHECK_FALSE(fifo.take());
  int in = 0, out = 0;
  for (int round = 1; round < 50; ++round) {
    for (int n = 0; n < round; ++n) fifo.put(in++);
    for (int n = 0; n + 1 < round; ++n) CHECK(fifo.take() == out++);
  }
  const size_t before = allocations_so_far();
  bool in_order = true;
  for (int round = 0; round < 1000; ++round) {
    fifo.put(in++);
    in_order &= fifo.take() == out++;
  }
  CHECK(allocations_so_far() == before);
  CHECK(in_order);
  while (const std::optional<int> item = fifo.take()) CHECK(*item == out++);
  CHECK(in == out);
}
