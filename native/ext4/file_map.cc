#include "ext4/file_map.h"

#include <algorithm>
#include <unordered_set>

#include "error.h"

namespace obd::ext4 {
namespace {

// Far beyond any image: what a hostile disk may make us keep.
constexpr size_t kMaxExtents = 20000000, kMaxPathBytes = 256 << 20, kMaxPath = 64 << 10;

}  // namespace

FileMap::FileMap(FileSystem& fs) {
  add_metadata(fs);
  add_tree(fs);
  sort();
}

uint32_t FileMap::add_owner(const std::string& path) {
  path_bytes_ += path.size();
  if (path_bytes_ > kMaxPathBytes) throw FormatError("ext4", 0, "the paths of its files take more than 256 MiB");
  paths_.push_back(path);
  return static_cast<uint32_t>(paths_.size() - 1);
}

void FileMap::add(uint64_t begin, uint64_t end, uint32_t owner) {
  if (extents_.size() == kMaxExtents) throw FormatError("ext4", 0, "more extents than any file system of an image has");
  extents_.push_back({begin, end, owner});
}

void FileMap::add_content(FileSystem& fs, uint32_t inode, uint32_t owner) {
  if (const auto found = fs.inode(inode)) fs.for_each_run(*found, [&](uint64_t begin, uint64_t end) { add(begin, end, owner); });
}

void FileMap::add_metadata(FileSystem& fs) {
  const auto adder = [this](const char* name) {
    return [this, owner = add_owner(name)](uint64_t begin, uint64_t end) { add(begin, end, owner); };
  };
  fs.for_each_inode_table(adder("[inode tables]"));
  fs.for_each_bitmap(adder("[bitmaps]"));
  fs.for_each_group_block(adder("[superblock and group descriptors]"));
  add_content(fs, kResizeInode, static_cast<uint32_t>(paths_.size() - 1));
  add_content(fs, kJournalInode, add_owner("[journal]"));
}

// Every file once, by one of its paths.
void FileMap::add_tree(FileSystem& fs) {
  struct Directory {
    Inode inode;
    std::string path;  // with a slash at the end
  };
  const uint32_t directories = add_owner("[directories]"), attributes = add_owner("[extended attributes]");
  const auto root = fs.inode(kRootInode);
  if (!root || !root->is_directory) throw FormatError("ext4", 0, "there is no root directory");
  std::unordered_set<uint32_t> seen{kRootInode};
  std::vector<Directory> waiting{{*root, "/"}};
  while (!waiting.empty()) {
    const Directory directory = std::move(waiting.back());
    waiting.pop_back();
    fs.for_each_run(directory.inode, [&](uint64_t begin, uint64_t end) { add(begin, end, directories); });
    for (const FileSystem::Entry& entry : fs.entries(directory.inode)) {
      if (!seen.insert(entry.inode).second) continue;
      const auto inode = fs.inode(entry.inode);
      if (!inode) continue;
      if (inode->attributes != 0) add(inode->attributes, inode->attributes + fs.block_size(), attributes);
      const std::string path = directory.path + entry.name;
      if (path.size() > kMaxPath) continue;
      if (inode->is_directory) {
        waiting.push_back({*inode, path + "/"});
      } else if (inode->has_blocks) {
        fs.for_each_run(*inode, [&, owner = add_owner(path)](uint64_t begin, uint64_t end) { add(begin, end, owner); });
      }
    }
  }
}

// Sorts, and cuts what a damaged disk gives to two files.
void FileMap::sort() {
  std::stable_sort(extents_.begin(), extents_.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  uint64_t covered = 0;
  for (Extent& e : extents_) {
    e.begin = std::max(e.begin, covered);
    covered = std::max(covered, e.end);
  }
  extents_.erase(std::remove_if(extents_.begin(), extents_.end(), [](const Extent& e) { return e.begin >= e.end; }), extents_.end());
}

void FileMap::for_each(uint64_t begin, uint64_t end, const std::function<void(uint64_t, uint64_t, const std::string&)>& visit) const {
  auto at = std::partition_point(extents_.begin(), extents_.end(), [&](const Extent& e) { return e.end <= begin; });
  for (; at != extents_.end() && at->begin < end; ++at) visit(std::max(begin, at->begin), std::min(end, at->end), paths_[at->owner]);
}

}  // namespace obd::ext4
