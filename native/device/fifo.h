// A queue that keeps its room: to put something in allocates only when more is in it than ever before.
#pragma once
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

namespace obd {

template <typename T>
class Fifo {
 public:
  // Has room for `room` to begin with, at least 1.
  explicit Fifo(size_t room) : places_(room) {}

  void put(T item) {
    if (count_ == places_.size()) grow();
    places_[(begin_ + count_++) % places_.size()] = std::move(item);
  }
  // The one that has been in it longest, or nothing.
  std::optional<T> take() {
    if (count_ == 0) return std::nullopt;
    std::optional<T> item(std::move(places_[begin_]));
    begin_ = (begin_ + 1) % places_.size();
    --count_;
    return item;
  }

 private:
  void grow() {
    std::vector<T> larger(2 * places_.size());
    for (size_t i = 0; i < count_; ++i) larger[i] = std::move(places_[(begin_ + i) % places_.size()]);
    places_ = std::move(larger);
    begin_ = 0;
  }

  std::vector<T> places_;
  size_t begin_ = 0, count_ = 0;
};

}  // namespace obd
