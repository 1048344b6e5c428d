// Writes tar entries byte for byte as Go's archive/tar does, so that the layers look like everybody else's.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>

#include "files/tar_reader.h"

namespace obd::files {

class TarWriter {
 public:
  using Output = std::function<void(std::string_view)>;
  // With `exact_times` every entry has a pax record with its time to the nanosecond.
  explicit TarWriter(Output out, bool exact_times = false) : out_(std::move(out)), exact_times_(exact_times) {}

  // Writes the entry's header(s). A regular file's `size` bytes follow through `data`. Times are written in
  // whole seconds, rounded down; `xattrs` become SCHILY.xattr records; sparse maps are not written. A pax
  // header comes first only when ustar's fields cannot say it all.
  void header(const TarEntry& entry);
  void data(std::string_view bytes);
  // The two zero blocks at the end. Throws std::logic_error when a file's data is not complete.
  void finish();

 private:
  void block(const TarEntry& entry, const std::string& prefix, const std::string& name);
  void pad();

  Output out_;
  bool exact_times_;
  uint64_t left_ = 0, padding_ = 0;
};

}  // namespace obd::files
