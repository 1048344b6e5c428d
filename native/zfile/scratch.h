// A thread's reusable buffer: reads on the data path allocate nothing once it has grown, at least to double its size.
#pragma once
#include <algorithm>
#include <cstddef>
#include <memory>

namespace obd {

class Scratch {
 public:
  // At least `count` bytes, not initialised; what was there before is gone.
  char* get(size_t count) {
    if (count > capacity_) {
      const size_t larger = std::max(count, 2 * capacity_);
      data_.reset(new char[larger]);
      capacity_ = larger;
    }
    return data_.get();
  }

 private:
  std::unique_ptr<char[]> data_;
  size_t capacity_ = 0;
};

}  // namespace obd
