// The store's metadata: an LMDB file of sorted keys and values, used by several processes at once. Writes are
// queued in the order they are made and committed in groups, off the main thread.
#pragma once
#include <lmdb.h>

#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace obd {

struct MetadataWrite {
  enum class Kind { put, put_existing, remove, remove_prefix };
  Kind kind;
  std::string key;  // the prefix, for remove_prefix
  std::string value;
};

using MetadataEntries = std::vector<std::pair<std::string, std::string>>;

// An open file. One a process and file (LMDB's rule): `open` returns the one that is open already.
class MetadataFile {
 public:
  // Writes that are committed together, all or none.
  class Batch;

  // Creates the file when it is not there; the directory is. Throws std::system_error, or std::runtime_error
  // for a file that is no database.
  static std::shared_ptr<MetadataFile> open(const std::string& path);
  ~MetadataFile();
  MetadataFile(const MetadataFile&) = delete;
  MetadataFile& operator=(const MetadataFile&) = delete;

  // Puts writes in line; any thread. They are done, or have failed, when `finish` returns or throws.
  std::shared_ptr<Batch> enqueue(std::vector<MetadataWrite> writes);
  void finish(const std::shared_ptr<Batch>& batch);

 private:
  friend class MetadataView;
  MetadataFile(std::string path, MDB_env* env);
  // Throws std::length_error for a key LMDB cannot hold.
  void check_key(const std::string& key) const;
  void commit_group(const std::deque<std::shared_ptr<Batch>>& group);

  const std::string path_;
  MDB_env* const env_;
  MDB_dbi dbi_ = 0;
  size_t max_key_size_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Batch>> queue_;
  bool committing_ = false;
};

class MetadataFile::Batch {
 public:
  explicit Batch(std::vector<MetadataWrite> writes) : writes(std::move(writes)) {}

 private:
  friend class MetadataFile;
  const std::vector<MetadataWrite> writes;
  bool done = false;
  std::exception_ptr error;
};

// One thread's view of the file: reads, and transactions that shut out every other writer.
class MetadataView {
 public:
  explicit MetadataView(std::shared_ptr<MetadataFile> file) : file_(std::move(file)) {}
  ~MetadataView();
  MetadataView(const MetadataView&) = delete;
  MetadataView& operator=(const MetadataView&) = delete;

  const std::shared_ptr<MetadataFile>& file() const { return file_; }

  std::optional<std::string> get(const std::string& key);
  // Up to `limit` entries with the prefix, in key order, after the key `after` ('' for from the start).
  MetadataEntries range(const std::string& prefix, const std::string& after, size_t limit);

  // A transaction on this thread: what lies between sees its own writes. `begin` waits for other writers.
  void begin();
  void apply(const std::vector<MetadataWrite>& writes);
  void commit();
  void abort();

 private:
  MDB_txn* reading();
  void done_reading();

  std::shared_ptr<MetadataFile> file_;
  MDB_txn* reader_ = nullptr;
  MDB_txn* writer_ = nullptr;
};

}  // namespace obd
