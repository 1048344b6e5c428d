#include "device/priority_list.h"

#include <algorithm>
#include <deque>
#include <unordered_set>

#include "device/prefetch_read.h"
#include "error.h"
#include "ext4/file_system.h"
#include "lsmt/stack.h"

namespace obd {
namespace {

constexpr size_t kMaxList = 64 << 10;  // bytes
// Each brings what the last one lacked: an inode after its directory, the file map after the inode.
constexpr int kMaxRounds = 1000;
constexpr size_t kMaxFiles = 1 << 20;

// A part of the file system has to be fetched first.
class NotLocal : public std::exception {};

// Goes through the list again and again, each time as far as the bytes are here, and never waits for any.
class ListedPrefetch : public std::enable_shared_from_this<ListedPrefetch> {
 public:
  ListedPrefetch(FetchManager& fetches, WorkerThreads& aside, const std::vector<std::shared_ptr<Layer>>& lowers, const std::vector<ListedPath>& paths)
      : fetches_(fetches), aside_(aside), disk_(lowers, nullptr) {
    for (const ListedPath& one : paths) wanted_.push_back({one.path, 0, one.whole});
  }

  // On one of the threads for what nobody waits for.
  void run() {
    Misses misses;
    try {
      ext4::FileSystem fs(disk_.size(), [&](void* buf, size_t count, uint64_t offset) {
        if (!disk_.try_read(buf, count, offset, misses)) throw NotLocal();
      });
      for (size_t left = wanted_.size(); left > 0; left--) {
        const Wanted one = std::move(wanted_.front());
        wanted_.pop_front();
        try {
          get(fs, one, left);
        } catch (const NotLocal&) {
          wanted_.push_back(one);
        } catch (const std::exception&) {
        }
      }
    } catch (const NotLocal&) {
    } catch (const std::exception&) {
      return;
    }
    if (wanted_.empty() || ++round_ == kMaxRounds) return;
    fetches_.when_local(misses, [self = shared_from_this()](std::exception_ptr error) {
      if (!error) self->aside_.run([self] { self->run(); });
    });
  }

 private:
  struct Wanted {
    std::string path;
    uint32_t inode;  // 0: the path says
    bool whole;      // a directory with everything below it
  };

  // Adds what a directory holds to what is looked at in this round.
  void get(ext4::FileSystem& fs, const Wanted& wanted, size_t& left) {
    const auto inode = wanted.inode == 0 ? fs.find(wanted.path) : fs.inode(wanted.inode);
    if (!inode || (wanted.whole && wanted.inode == 0 && !inode->is_directory)) return;
    if (!inode->is_directory) {
      fs.for_each_run(*inode, [&](uint64_t begin, uint64_t end) {
        prefetch_read(fetches_, begin, end, [&](void* buf, size_t count, uint64_t offset, Misses& misses) { disk_.try_read(buf, count, offset, misses); });
      });
    } else if (wanted.whole && seen_.size() < kMaxFiles) {
      for (const auto& entry : fs.entries(*inode)) {
        if (!seen_.insert(entry.inode).second) continue;
        wanted_.push_back({"", entry.inode, true});
        left++;
      }
    }
  }

  FetchManager& fetches_;
  WorkerThreads& aside_;
  Stack disk_;
  std::deque<Wanted> wanted_;
  std::unordered_set<uint32_t> seen_;
  int round_ = 0;
};

}  // namespace

std::vector<ListedPath> parse_priority_list(const std::string& list, const std::string& name) {
  if (list.size() > kMaxList) throw FormatError(name, kMaxList, "priority list: longer than 64 KiB");
  std::vector<ListedPath> paths;
  for (size_t at = 0; at < list.size();) {
    const size_t end = std::min(list.find('\n', at), list.size());
    std::string path = list.substr(at, end - at);
    at = end + 1;
    const size_t first = path.find_first_not_of(" \t"), last = path.find_last_not_of(" \t\r");
    if (first == std::string::npos || last == std::string::npos) continue;
    path = path.substr(first, last + 1 - first);
    const bool whole = path.back() == '/' || path.back() == '*';
    if (whole) path.erase(path.find_last_not_of("/*") + 1);
    paths.push_back({path.empty() ? "/" : path, whole});
  }
  return paths;
}

void prefetch_listed(FetchManager& fetches, WorkerThreads& aside, const std::vector<std::shared_ptr<Layer>>& lowers,
                     const std::vector<ListedPath>& paths) {
  aside.run([&fetches, &aside, lowers, paths] { std::make_shared<ListedPrefetch>(fetches, aside, lowers, paths)->run(); });
}

}  // namespace obd
