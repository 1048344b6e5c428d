#include "store/metadata_db.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <map>
#include <stdexcept>

#include "error.h"
#include "system/unique_fd.h"

namespace obd {
namespace {

// Address space, not disk: a fixed map spares processes the dance of growing it together.
constexpr size_t map_size = size_t{16} << 30;
constexpr unsigned max_readers = 512;
// The lock file is written through a map, where a full disk would be a SIGBUS: room for it is taken first.
constexpr off_t lock_file_room = 64 << 10;
// Room for the collector's own writes when the disk is full, and commits that need not grow the file.
constexpr off_t file_room = 4 << 20;

[[noreturn]] void fail(int rc, const std::string& what) {
  if (rc > 0) throw_errno(what, rc);
  throw std::runtime_error(what + ": " + mdb_strerror(rc));
}

void check(int rc, const std::string& what) {
  if (rc != MDB_SUCCESS) fail(rc, what);
}

MDB_val as_val(const std::string& text) { return {text.size(), const_cast<char*>(text.data())}; }

std::string as_string(const MDB_val& val) { return {static_cast<const char*>(val.mv_data), val.mv_size}; }

bool has_prefix(const MDB_val& key, const std::string& prefix) {
  return key.mv_size >= prefix.size() && std::memcmp(key.mv_data, prefix.data(), prefix.size()) == 0;
}

struct CursorCloser {
  void operator()(MDB_cursor* cursor) const { mdb_cursor_close(cursor); }
};
using Cursor = std::unique_ptr<MDB_cursor, CursorCloser>;

Cursor open_cursor(MDB_txn* txn, MDB_dbi dbi) {
  MDB_cursor* cursor = nullptr;
  check(mdb_cursor_open(txn, dbi, &cursor), "read the database");
  return Cursor(cursor);
}

void remove_prefix(MDB_txn* txn, MDB_dbi dbi, const std::string& prefix) {
  const Cursor cursor = open_cursor(txn, dbi);
  MDB_val key = as_val(prefix);
  int rc = mdb_cursor_get(cursor.get(), &key, nullptr, MDB_SET_RANGE);
  while (rc == MDB_SUCCESS && has_prefix(key, prefix)) {
    check(mdb_cursor_del(cursor.get(), 0), "delete from the database");
    rc = mdb_cursor_get(cursor.get(), &key, nullptr, MDB_NEXT);
  }
  if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND) fail(rc, "delete from the database");
}

void apply_write(MDB_txn* txn, MDB_dbi dbi, const MetadataWrite& write) {
  MDB_val key = as_val(write.key);
  MDB_val value = as_val(write.value);
  MDB_val old{};
  int rc = MDB_SUCCESS;
  switch (write.kind) {
    case MetadataWrite::Kind::put_existing:
      rc = mdb_get(txn, dbi, &key, &old);
      if (rc == MDB_NOTFOUND) return;
      check(rc, "read the database");
      [[fallthrough]];
    case MetadataWrite::Kind::put:
      check(mdb_put(txn, dbi, &key, &value, 0), "write to the database");
      return;
    case MetadataWrite::Kind::remove:
      rc = mdb_del(txn, dbi, &key, nullptr);
      if (rc != MDB_NOTFOUND) check(rc, "delete from the database");
      return;
    case MetadataWrite::Kind::remove_prefix:
      remove_prefix(txn, dbi, write.key);
      return;
  }
}

void reserve(int fd, off_t size, const std::string& path) {
  const int rc = ::posix_fallocate(fd, 0, size);
  if (rc != 0) throw_errno("reserve room for " + path, rc);
}

void reserve_lock_file(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) throw_errno("open " + path);
  reserve(fd.get(), lock_file_room, path);
}

// LMDB reports a write that was cut short as EIO; on a full disk that is what it means.
int commit_error(int rc, const std::string& path) {
  struct statvfs room {};
  const bool full = rc == EIO && ::statvfs(path.c_str(), &room) == 0 && room.f_bavail * room.f_frsize < (1 << 20);
  return full ? ENOSPC : rc;
}

// The same file has the same name whatever way leads to it.
std::string canonical(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(directory.c_str(), nullptr), std::free);
  if (!resolved) throw_errno("open " + path);
  return std::string(resolved.get()) + "/" + path.substr(slash + 1);
}

// LMDB's locks belong to the process: closing one handle of a file would drop the locks of all. So a file is
// open once, and is not opened again before the last one is closed for good.
struct OpenFiles {
  std::mutex mutex;
  std::condition_variable closed;
  std::map<std::string, std::weak_ptr<MetadataFile>> by_path;
};

OpenFiles& open_files() {
  static OpenFiles files;
  return files;
}

}  // namespace

std::shared_ptr<MetadataFile> MetadataFile::open(const std::string& path) {
  const std::string name = canonical(path);
  OpenFiles& files = open_files();
  std::unique_lock lock(files.mutex);
  for (auto found = files.by_path.find(name); found != files.by_path.end(); found = files.by_path.find(name)) {
    if (auto known = found->second.lock()) return known;
    files.closed.wait(lock);
  }
  reserve_lock_file(name + "-lock");
  MDB_env* env = nullptr;
  check(mdb_env_create(&env), "open " + path);
  // From here on the file object closes the environment. One that is never registered closes under the lock
  // that is held here.
  std::unique_ptr<MetadataFile> file(new MetadataFile(name, env));
  check(mdb_env_set_mapsize(env, map_size), "open " + path);
  check(mdb_env_set_maxreaders(env, max_readers), "open " + path);
  // NOMETASYNC: one sync a commit instead of two; a power failure may undo the last commit, never break the file.
  check(mdb_env_open(env, name.c_str(), MDB_NOSUBDIR | MDB_NOTLS | MDB_NOMETASYNC, 0600), "open " + path);
  mdb_filehandle_t descriptor = -1;
  check(mdb_env_get_fd(env, &descriptor), "open " + path);
  // LMDB leaves this to its user; without it every child process would hold the database.
  if (::fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0) throw_errno("open " + path);
  reserve(descriptor, file_room, path);
  int dead = 0;
  check(mdb_reader_check(env, &dead), "open " + path);
  MDB_txn* txn = nullptr;
  check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &txn), "open " + path);
  const int rc = mdb_dbi_open(txn, nullptr, 0, &file->dbi_);
  mdb_txn_abort(txn);  // the unnamed database's handle stays valid
  check(rc, "open " + path);
  file->max_key_size_ = static_cast<size_t>(mdb_env_get_maxkeysize(env));
  std::shared_ptr<MetadataFile> shared(file.release(), [](MetadataFile* last) {
    OpenFiles& all = open_files();
    const std::lock_guard closing(all.mutex);
    const std::string closed_name = last->path_;
    delete last;
    all.by_path.erase(closed_name);
    all.closed.notify_all();
  });
  files.by_path[name] = shared;
  return shared;
}

MetadataFile::MetadataFile(std::string path, MDB_env* env) : path_(std::move(path)), env_(env) {}

MetadataFile::~MetadataFile() { mdb_env_close(env_); }

std::shared_ptr<MetadataFile::Batch> MetadataFile::enqueue(std::vector<MetadataWrite> writes) {
  for (const auto& write : writes) check_key(write.key);
  auto batch = std::make_shared<Batch>(std::move(writes));
  const std::lock_guard lock(mutex_);
  queue_.push_back(batch);
  return batch;
}

void MetadataFile::check_key(const std::string& key) const {
  if (!key.empty() && key.size() <= max_key_size_) return;
  throw std::length_error("a key has 1 to " + std::to_string(max_key_size_) + " bytes, not " + std::to_string(key.size()));
}

void MetadataFile::finish(const std::shared_ptr<Batch>& batch) {
  std::unique_lock lock(mutex_);
  // Whoever finds nobody committing does it for all in line.
  while (!batch->done) {
    if (committing_) {
      changed_.wait(lock);
      continue;
    }
    std::deque<std::shared_ptr<Batch>> group;
    group.swap(queue_);
    committing_ = true;
    lock.unlock();
    std::exception_ptr error;
    try {
      commit_group(group);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    committing_ = false;
    for (const auto& member : group) {
      member->done = true;
      member->error = error;
    }
    changed_.notify_all();
  }
  if (batch->error) std::rethrow_exception(batch->error);
}

void MetadataFile::commit_group(const std::deque<std::shared_ptr<Batch>>& group) {
  MDB_txn* txn = nullptr;
  check(mdb_txn_begin(env_, nullptr, 0, &txn), "write to " + path_);
  try {
    for (const auto& batch : group) {
      for (const auto& write : batch->writes) apply_write(txn, dbi_, write);
    }
  } catch (...) {
    mdb_txn_abort(txn);
    throw;
  }
  check(commit_error(mdb_txn_commit(txn), path_), "write to " + path_);
}

MetadataView::~MetadataView() {
  abort();
  if (reader_ != nullptr) mdb_txn_abort(reader_);
}

MDB_txn* MetadataView::reading() {
  if (writer_ != nullptr) return writer_;
  if (reader_ == nullptr) {
    check(mdb_txn_begin(file_->env_, nullptr, MDB_RDONLY, &reader_), "read " + file_->path_);
  } else {
    check(mdb_txn_renew(reader_), "read " + file_->path_);
  }
  return reader_;
}

// A reader that stays in its snapshot keeps old pages from being used again.
void MetadataView::done_reading() {
  if (writer_ == nullptr) mdb_txn_reset(reader_);
}

std::optional<std::string> MetadataView::get(const std::string& key) {
  file_->check_key(key);
  MDB_txn* const txn = reading();
  MDB_val wanted = as_val(key);
  MDB_val found{};
  const int rc = mdb_get(txn, file_->dbi_, &wanted, &found);
  std::optional<std::string> value;
  if (rc == MDB_SUCCESS) value = as_string(found);
  done_reading();
  if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND) fail(rc, "read " + file_->path_);
  return value;
}

MetadataEntries MetadataView::range(const std::string& prefix, const std::string& after, size_t limit) {
  MetadataEntries entries;
  MDB_txn* const txn = reading();
  int rc = MDB_SUCCESS;
  {
    const Cursor cursor = open_cursor(txn, file_->dbi_);
    const std::string& start = after.empty() ? prefix : after;
    MDB_val key = as_val(start);
    MDB_val value{};
    rc = start.empty() ? mdb_cursor_get(cursor.get(), &key, &value, MDB_FIRST)
                       : mdb_cursor_get(cursor.get(), &key, &value, MDB_SET_RANGE);
    if (rc == MDB_SUCCESS && !after.empty() && as_string(key) == after) {
      rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
    }
    while (rc == MDB_SUCCESS && has_prefix(key, prefix) && entries.size() < limit) {
      entries.emplace_back(as_string(key), as_string(value));
      rc = mdb_cursor_get(cursor.get(), &key, &value, MDB_NEXT);
    }
  }
  done_reading();
  if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND) fail(rc, "read " + file_->path_);
  return entries;
}

void MetadataView::begin() {
  if (writer_ != nullptr) throw std::logic_error("a transaction is open already");
  check(mdb_txn_begin(file_->env_, nullptr, 0, &writer_), "write to " + file_->path_);
}

void MetadataView::apply(const std::vector<MetadataWrite>& writes) {
  if (writer_ == nullptr) throw std::logic_error("no transaction is open");
  for (const auto& write : writes) file_->check_key(write.key);
  for (const auto& write : writes) apply_write(writer_, file_->dbi_, write);
}

void MetadataView::commit() {
  if (writer_ == nullptr) throw std::logic_error("no transaction is open");
  MDB_txn* const txn = writer_;
  writer_ = nullptr;
  check(commit_error(mdb_txn_commit(txn), file_->path_), "write to " + file_->path_);
}

void MetadataView::abort() {
  if (writer_ == nullptr) return;
  mdb_txn_abort(writer_);
  writer_ = nullptr;
}

}  // namespace obd
