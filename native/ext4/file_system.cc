#include "ext4/file_system.h"

#include <algorithm>
#include <utility>

#include "error.h"

// Last: it defines min, max and clamp as macros.
#include <ext2fs/ext2fs.h>

namespace obd::ext4 {
namespace {

constexpr uint64_t kSectorBytes = 512;
constexpr int kSmallestBlock = 1024;

}  // namespace

// What libext2fs reads from, and what went wrong there.
struct FileSystem::Disk {
  uint64_t size;
  Read read;
  std::exception_ptr failure;

  bool read_bytes(void* data, uint64_t bytes, uint64_t offset) {
    if (offset > size || bytes > size - offset) return false;
    try {
      if (offset % kSectorBytes == 0 && bytes % kSectorBytes == 0) {
        read(data, bytes, offset);
        return true;
      }
      const uint64_t begin = offset / kSectorBytes * kSectorBytes;
      const uint64_t end = std::min(size, (offset + bytes + kSectorBytes - 1) / kSectorBytes * kSectorBytes);
      std::string whole(end - begin, '\0');
      read(whole.data(), whole.size(), begin);
      std::copy_n(whole.data() + (offset - begin), bytes, static_cast<char*>(data));
      return true;
    } catch (...) {
      failure = std::current_exception();  // must not travel through C frames
      return false;
    }
  }

  // The library's way to read from it.
  static errcode_t close(io_channel channel) {
    if (--channel->refcount > 0) return 0;
    delete[] channel->name;
    delete channel;
    return 0;
  }
  static errcode_t set_block_size(io_channel channel, int size) {
    channel->block_size = size;
    return 0;
  }
  // A negative count is one of bytes.
  static errcode_t read_blocks64(io_channel channel, unsigned long long block, int count, void* data) {
    const auto block_size = static_cast<uint64_t>(channel->block_size);
    const uint64_t bytes = count < 0 ? static_cast<uint64_t>(-static_cast<int64_t>(count)) : static_cast<uint64_t>(count) * block_size;
    if (block > UINT64_MAX / block_size) return EXT2_ET_SHORT_READ;
    return static_cast<Disk*>(channel->private_data)->read_bytes(data, bytes, block * block_size) ? 0 : EXT2_ET_SHORT_READ;
  }
  static errcode_t read_blocks(io_channel channel, unsigned long block, int count, void* data) {
    return read_blocks64(channel, block, count, data);
  }
  static errcode_t refuse_write(io_channel, unsigned long, int, const void*) { return EROFS; }
  static errcode_t refuse_write64(io_channel, unsigned long long, int, const void*) { return EROFS; }
  static errcode_t flush(io_channel) { return 0; }
  static errcode_t open(const char*, int, io_channel* channel) {
    auto* made = new struct_io_channel{};
    made->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    made->manager = manager();
    made->name = new char[1]{};
    made->block_size = kSmallestBlock;
    made->refcount = 1;
    made->private_data = opening;
    *channel = made;
    return 0;
  }
  static io_manager manager() {
    static struct_io_manager only = [] {
      struct_io_manager made{};
      made.magic = EXT2_ET_MAGIC_IO_MANAGER;
      made.name = "obd";
      made.open = open;
      made.close = close;
      made.set_blksize = set_block_size;
      made.read_blk = read_blocks;
      made.read_blk64 = read_blocks64;
      made.write_blk = refuse_write;
      made.write_blk64 = refuse_write64;
      made.flush = flush;
      return made;
    }();
    return &only;
  }
  static thread_local Disk* opening;  // ext2fs_open2 has no other way to say it
};

thread_local FileSystem::Disk* FileSystem::Disk::opening = nullptr;

void FileSystem::Close::operator()(struct_ext2_filsys* fs) const { ext2fs_free(fs); }

FileSystem::FileSystem(uint64_t size, Read read) : disk_(new Disk{size, std::move(read), nullptr}) {
  Disk::opening = disk_.get();
  ext2_filsys fs = nullptr;
  const errcode_t error = ext2fs_open2("", nullptr, EXT2_FLAG_64BITS | EXT2_FLAG_IGNORE_CSUM_ERRORS, 0, 0, Disk::manager(), &fs);
  fs_.reset(error == 0 ? fs : nullptr);
  check(error, "open");
}

FileSystem::~FileSystem() = default;

void FileSystem::check(long error, const std::string& what) const {
  if (disk_->failure) std::rethrow_exception(std::exchange(disk_->failure, nullptr));
  if (error != 0) throw FormatError("ext4", 0, what + ": " + error_message(error));
}

uint64_t FileSystem::block_size() const { return fs_->blocksize; }

void FileSystem::visit_blocks(uint64_t block, uint64_t count, const Visit& visit) const {
  const uint64_t blocks = disk_->size / block_size();
  if (count == 0 || block > blocks || count > blocks - block) return;
  visit(block * block_size(), (block + count) * block_size());
}

std::optional<Inode> FileSystem::inode(uint32_t number) {
  if (number == 0 || number > fs_->super->s_inodes_count) return std::nullopt;
  struct ext2_inode inode;
  check(ext2fs_read_inode(fs_.get(), number, &inode), "inode " + std::to_string(number));
  return Inode{number, LINUX_S_ISDIR(inode.i_mode), ext2fs_inode_has_valid_blocks2(fs_.get(), &inode) != 0,
               ext2fs_file_acl_block(fs_.get(), &inode) * block_size()};
}

void FileSystem::for_each_run(const Inode& inode, const Visit& visit) {
  if (!inode.has_blocks) return;
  struct Walk {
    uint64_t block, count;
    const FileSystem* self;
    const Visit* visit;
    std::exception_ptr failure;
    void flush() {
      self->visit_blocks(block, count, *visit);
      count = 0;
    }
  } walk{0, 0, this, &visit, nullptr};
  const auto add = [](ext2_filsys, blk64_t* block, e2_blkcnt_t, blk64_t, int, void* data) {
    auto& w = *static_cast<Walk*>(data);
    if (w.count > 0 && *block == w.block + w.count) {
      w.count++;
      return 0;
    }
    try {
      w.flush();
    } catch (...) {
      w.failure = std::current_exception();
      return BLOCK_ABORT;
    }
    w.block = *block;
    w.count = 1;
    return 0;
  };
  const errcode_t error = ext2fs_block_iterate3(fs_.get(), inode.number, BLOCK_FLAG_READ_ONLY, nullptr, add, &walk);
  if (walk.failure) std::rethrow_exception(walk.failure);
  check(error, "blocks of inode " + std::to_string(inode.number));
  walk.flush();
}

std::vector<FileSystem::Entry> FileSystem::entries(const Inode& directory) {
  std::vector<Entry> entries;
  const auto add = [](ext2_ino_t, int kind, struct ext2_dir_entry* entry, int, int, char*, void* data) {
    if (kind == DIRENT_OTHER_FILE) {
      static_cast<std::vector<Entry>*>(data)->push_back({std::string(entry->name, static_cast<size_t>(ext2fs_dirent_name_len(entry))), entry->inode});
    }
    return 0;
  };
  check(ext2fs_dir_iterate2(fs_.get(), directory.number, 0, nullptr, add, &entries), "directory of inode " + std::to_string(directory.number));
  return entries;
}

std::optional<Inode> FileSystem::find(const std::string& path) {
  ext2_ino_t number = 0;
  const errcode_t error = ext2fs_namei_follow(fs_.get(), kRootInode, kRootInode, path.c_str(), &number);
  check(0, path);
  return error == 0 ? inode(number) : std::nullopt;
}

void FileSystem::for_each_group_block(const Visit& visit) {
  for (dgrp_t group = 0; group < fs_->group_desc_count; group++) {
    blk64_t super = 0, old_descriptors = 0, new_descriptors = 0;
    blk_t used = 0;
    ext2fs_super_and_bgd_loc2(fs_.get(), group, &super, &old_descriptors, &new_descriptors, &used);
    if (super != 0 || group == 0) visit_blocks(super, 1, visit);
    if (old_descriptors != 0) visit_blocks(old_descriptors, fs_->desc_blocks, visit);
    if (new_descriptors != 0) visit_blocks(new_descriptors, 1, visit);
  }
}

void FileSystem::for_each_bitmap(const Visit& visit) {
  for (dgrp_t group = 0; group < fs_->group_desc_count; group++) {
    visit_blocks(ext2fs_block_bitmap_loc(fs_.get(), group), 1, visit);
    visit_blocks(ext2fs_inode_bitmap_loc(fs_.get(), group), 1, visit);
  }
}

void FileSystem::for_each_inode_table(const Visit& visit) {
  for (dgrp_t group = 0; group < fs_->group_desc_count; group++) {
    visit_blocks(ext2fs_inode_table_loc(fs_.get(), group), fs_->inode_blocks_per_group, visit);
  }
}

}  // namespace obd::ext4
