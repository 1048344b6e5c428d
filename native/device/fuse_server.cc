#include "device/fuse_server.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include <cstring>

#include "device/parked_read.h"
#include "error.h"
#include "system/io_thread.h"
#include "system/sharded_mutex.h"

#ifndef FOPEN_PARALLEL_DIRECT_WRITES
#define FOPEN_PARALLEL_DIRECT_WRITES (1 << 6)
#endif

namespace obd {
namespace {

using namespace fuse;

// Page-aligned memory that costs only the pages touched.
class Buffer {
 public:
  explicit Buffer(size_t size) : size_(size) {
    data_ = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data_ == MAP_FAILED) throw_errno("allocate a request buffer");
  }
  ~Buffer() { ::munmap(data_, size_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_;
  size_t size_;
};

UniqueFd open_fuse() {
  UniqueFd fd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
  if (!fd) throw_errno("open /dev/fuse (is the fuse module loaded?)");
  return fd;
}

void set_option(int context, const char* key, const std::string& value) {
  if (::fsconfig(context, FSCONFIG_SET_STRING, key, value.c_str(), 0) != 0) {
    throw_errno("set the fuse mount option " + std::string(key));
  }
}

// A mount of the connection behind `fuse_fd`, attached nowhere.
UniqueFd mount_connection(int fuse_fd) {
  const UniqueFd context(::fsopen("fuse", FSOPEN_CLOEXEC));
  if (!context) throw_errno("fsopen fuse");
  set_option(context.get(), "source", "obd");
  set_option(context.get(), "fd", std::to_string(fuse_fd));
  set_option(context.get(), "rootmode", "100000");
  set_option(context.get(), "user_id", "0");
  set_option(context.get(), "group_id", "0");
  set_option(context.get(), "max_read", std::to_string(kMaxTransfer));
  if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) throw_errno("mount fuse");
  UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
  if (!mount) throw_errno("fsmount fuse");
  return mount;
}

}  // namespace

// What the serving threads and parked reads share; lives until the last of them is done.
class FuseServer::Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, FaultListener on_fault)
      : disk_(std::move(disk)), fetches_(fetches), on_fault_(std::move(on_fault)) {
    channels_.push_back(open_fuse());
  }

  int channel(size_t index) const { return channels_[index].get(); }

  // One more descriptor with a queue of its own on the same connection.
  void clone_channel() {
    UniqueFd fd = open_fuse();
    auto session = static_cast<uint32_t>(channel(0));
    if (::ioctl(fd.get(), FUSE_DEV_IOC_CLONE, &session) != 0) throw_errno("clone /dev/fuse");
    channels_.push_back(std::move(fd));
  }

  // Answers the requests of one channel until the file system is gone.
  void serve(int channel, Buffer& input, Buffer& output) {
    for (;;) {
      const ssize_t size = ::read(channel, input.data(), input.size());
      if (size < 0) {
        // ENOENT: the request was withdrawn before it could be read.
        if (errno == EINTR || errno == EAGAIN || errno == ENOENT) continue;
        return;  // ENODEV: unmounted
      }
      const std::optional<Request> request = parse_request(input.data(), static_cast<size_t>(size));
      if (request) answer(channel, *request, output);
    }
  }

 private:
  void answer(int channel, const Request& request, Buffer& output) {
    const uint64_t unique = request.header.unique;
    switch (request.header.opcode) {
      case FUSE_READ:
        return answer_read(channel, request, output);
      case FUSE_WRITE:
        return answer_write(channel, request);
      case FUSE_FALLOCATE:
        return answer_fallocate(channel, request);
      case FUSE_FSYNC:
      case FUSE_FLUSH:
        return answer_flush(channel, request);
      case FUSE_INIT: {
        const std::optional<fuse_init_out> out = answer_init(request);
        if (!out) return reply_error(channel, unique, EPROTO);
        return reply(channel, unique, &*out, sizeof(*out));
      }
      case FUSE_GETATTR: {
        const fuse_attr_out out = answer_getattr(disk_->size(), disk_->writable());
        return reply(channel, unique, &out, sizeof(out));
      }
      case FUSE_STATFS: {
        const fuse_statfs_out out = answer_statfs(disk_->size());
        return reply(channel, unique, &out, sizeof(out));
      }
      case FUSE_OPEN:
        return answer_open(channel, request);
      case FUSE_RELEASE:
      case FUSE_DESTROY:
        return reply(channel, unique, nullptr, 0);
      case FUSE_FORGET:
      case FUSE_BATCH_FORGET:
      case FUSE_INTERRUPT:  // no request here lasts longer than the fetch of its bytes may
        return;
      default:
        return reply_error(channel, unique, ENOSYS);
    }
  }

  void answer_open(int channel, const Request& request) {
    const auto in = request.body_as<fuse_open_in>();
    if (!in) return reply_error(channel, request.header.unique, EINVAL);
    if ((in->flags & O_ACCMODE) != O_RDONLY && !disk_->writable()) {
      return reply_error(channel, request.header.unique, EROFS);
    }
    fuse_open_out out{};
    // A process that is killed with the file open would wait for its own answer to a flush, and keep every sync of the host waiting.
    out.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES | FOPEN_NOFLUSH;
    reply(channel, request.header.unique, &out, sizeof(out));
  }

  void answer_read(int channel, const Request& request, Buffer& output) {
    const uint64_t unique = request.header.unique;
    const std::optional<ReadRange> range = parse_read(request, disk_->size());
    if (!range) return reply_error(channel, unique, EINVAL);
    if (range->size == 0) return reply(channel, unique, nullptr, 0);
    Misses misses;
    try {
      if (disk_->try_read(output.data(), range->size, range->offset, misses)) {
        return reply(channel, unique, output.data(), range->size);
      }
    } catch (...) {
      return reply_fault(channel, unique, {"read", range->offset, range->size, std::current_exception()});
    }
    // The reply goes out on the channel the request came from: the connection stays open until then.
    park_read(fetches_, disk_, range->offset, range->size, misses,
              [self = shared_from_this(), channel, unique, range = *range](const void* data, std::exception_ptr error) {
                if (error) return self->reply_fault(channel, unique, {"read", range.offset, range.size, error});
                self->reply(channel, unique, data, range.size);
              });
  }

  void answer_write(int channel, const Request& request) {
    const uint64_t unique = request.header.unique;
    if (!disk_->writable()) return reply_error(channel, unique, EROFS);
    const std::optional<WriteRange> range = parse_write(request, disk_->size());
    if (!range) return reply_error(channel, unique, EINVAL);
    try {
      disk_->write(range->data, range->size, range->offset);
    } catch (...) {
      return reply_fault(channel, unique, {"write", range->offset, range->size, std::current_exception()});
    }
    fuse_write_out out{};
    out.size = range->size;
    reply(channel, unique, &out, sizeof(out));
  }

  void answer_fallocate(int channel, const Request& request) {
    const uint64_t unique = request.header.unique;
    if (!disk_->writable()) return reply_error(channel, unique, EROFS);
    const ZeroRequest zero = parse_fallocate(request, disk_->size());
    if (zero.error != 0) return reply_error(channel, unique, zero.error);
    try {
      if (zero.range.size > 0) disk_->discard(zero.range.offset, zero.range.size);
    } catch (...) {
      return reply_fault(channel, unique, {"discard", zero.range.offset, zero.range.size, std::current_exception()});
    }
    reply(channel, unique, nullptr, 0);
  }

  void answer_flush(int channel, const Request& request) {
    try {
      if (disk_->writable()) disk_->flush();
    } catch (...) {
      return reply_fault(channel, request.header.unique, {"flush", 0, disk_->size(), std::current_exception()});
    }
    reply(channel, request.header.unique, nullptr, 0);
  }

  void reply_fault(int channel, uint64_t unique, const DeviceFault& fault) {
    on_fault_(fault);
    reply_error(channel, unique, errno_of(fault.error));
  }

  void reply_error(int channel, uint64_t unique, int error) {
    fuse_out_header header{};
    header.len = sizeof(header);
    header.error = -error;
    header.unique = unique;
    send(channel, &header, nullptr, 0);
  }

  void reply(int channel, uint64_t unique, const void* data, size_t size) {
    fuse_out_header header{};
    header.len = static_cast<uint32_t>(sizeof(header) + size);
    header.unique = unique;
    send(channel, &header, data, size);
  }

  // A request that the kernel has given up meanwhile (ENOENT) needs no answer.
  void send(int channel, fuse_out_header* header, const void* data, size_t size) {
    iovec parts[2] = {{header, sizeof(*header)}, {const_cast<void*>(data), size}};
    while (::writev(channel, parts, size > 0 ? 2 : 1) < 0 && errno == EINTR) {
    }
  }

  const std::shared_ptr<BlockDevice> disk_;
  FetchManager& fetches_;
  const FaultListener on_fault_;
  std::vector<UniqueFd> channels_;
};

FuseServer::FuseServer(std::shared_ptr<BlockDevice> disk, FetchManager& fetches, FaultListener on_fault,
                       unsigned threads) {
  const bool writable = disk->writable();
  connection_ = std::make_shared<Connection>(std::move(disk), fetches, std::move(on_fault));
  UniqueFd mount = mount_connection(connection_->channel(0));
  try {
    for (unsigned i = 1; i < threads; ++i) connection_->clone_channel();
    start_threads(threads);
    open_file(mount.get(), writable);
  } catch (...) {
    close_file();
    mount.reset();  // the end of the mount ends the threads
    join_threads();
    throw;
  }
}

FuseServer::~FuseServer() {
  close_file();
  join_threads();
}

void FuseServer::start_threads(unsigned count) {
  for (unsigned i = 0; i < count; ++i) {
    auto input = std::make_shared<Buffer>(kRequestBuffer);
    auto output = std::make_shared<Buffer>(kMaxTransfer);
    threads_.emplace_back([connection = connection_, i, input, output] {
      become_io_thread("obd-fuse");
      const ShardedMutex::ForQueue reads(i);
      connection->serve(connection->channel(i), *input, *output);
    });
  }
}

void FuseServer::join_threads() {
  for (std::thread& thread : threads_) thread.join();
  threads_.clear();
}

void FuseServer::open_file(int mount, bool writable) {
  const std::string path = "/proc/self/fd/" + std::to_string(mount);
  file_ = UniqueFd(::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  if (!file_) throw_errno("open the fuse file");
  // The kernel knows the file's size only after the first stat.
  struct stat attributes {};
  if (::fstat(file_.get(), &attributes) != 0) throw_errno("stat the fuse file");
}

}  // namespace obd
