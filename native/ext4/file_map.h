// Which file each part of an ext4 belongs to.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ext4/file_system.h"

namespace obd::ext4 {

class FileMap {
 public:
  // Reads all directories and block maps. Throws FormatError.
  explicit FileMap(FileSystem& fs);

  // Calls visit(begin, end, path) for the parts of the disk's bytes [begin, end) that belong to something, ascending.
  // A file with several links has one of its paths. What is no file's content has a name in brackets: "[inode
  // tables]", "[directories]", "[journal]", ...
  void for_each(uint64_t begin, uint64_t end, const std::function<void(uint64_t, uint64_t, const std::string&)>& visit) const;

 private:
  struct Extent {
    uint64_t begin, end;  // bytes
    uint32_t owner;       // index into paths_
  };
  uint32_t add_owner(const std::string& path);
  void add(uint64_t begin, uint64_t end, uint32_t owner);
  void add_content(FileSystem& fs, uint32_t inode, uint32_t owner);
  void add_metadata(FileSystem& fs);
  void add_tree(FileSystem& fs);
  void sort();

  std::vector<Extent> extents_;  // ascending, without overlap
  std::vector<std::string> paths_;
  size_t path_bytes_ = 0;
};

}  // namespace obd::ext4
