// An ext2, 3 or 4 on a disk, read with libext2fs: neither a mount nor root is needed. Only what the disk itself
// says counts; a journal is not replayed.
#pragma once
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

struct struct_ext2_filsys;

namespace obd::ext4 {

constexpr uint32_t kRootInode = 2, kResizeInode = 7, kJournalInode = 8;

struct Inode {
  uint32_t number;
  bool is_directory;
  bool has_blocks;      // else its content, if any, is in the inode
  uint64_t attributes;  // of the block with its extended attributes, bytes; 0: none
};

class FileSystem {
 public:
  // Reads `count` bytes at `offset` of the disk, both multiples of 512. What it throws, the calls below throw.
  using Read = std::function<void(void* buf, size_t count, uint64_t offset)>;
  // Part of the disk, bytes.
  using Visit = std::function<void(uint64_t begin, uint64_t end)>;
  struct Entry {
    std::string name;
    uint32_t inode;
  };

  // Reads superblock and group descriptors of a disk of `size` bytes. Every call throws FormatError when the
  // file system is damaged.
  FileSystem(uint64_t size, Read read);
  ~FileSystem();
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;

  // Nullopt for a number that no inode has.
  std::optional<Inode> inode(uint32_t number);
  // The blocks of its content, in its order, those that hold the map of them included. Parts beyond the disk are
  // left out.
  void for_each_run(const Inode& inode, const Visit& visit);
  // Without "." and "..".
  std::vector<Entry> entries(const Inode& directory);
  // The inode a path leads to, links followed; nullopt when it leads nowhere.
  std::optional<Inode> find(const std::string& path);

  uint64_t block_size() const;
  // Where the file system keeps itself.
  void for_each_group_block(const Visit& visit);   // superblocks and group descriptors, with the copies
  void for_each_bitmap(const Visit& visit);
  void for_each_inode_table(const Visit& visit);

 private:
  struct Close {
    void operator()(struct_ext2_filsys* fs) const;
  };
  struct Disk;
  // Throws what a read has thrown meanwhile, and for an error of the library.
  void check(long error, const std::string& what) const;
  void visit_blocks(uint64_t block, uint64_t count, const Visit& visit) const;

  std::unique_ptr<Disk> disk_;
  std::unique_ptr<struct_ext2_filsys, Close> fs_;
};

}  // namespace obd::ext4
