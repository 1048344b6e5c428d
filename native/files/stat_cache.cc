#include "files/stat_cache.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

#include "files/fs_error.h"
#include "files/go_path.h"

namespace obd::files {

namespace {

// The file: this magic, then for each path its Entry and the path's bytes, then the SHA-256 of it all.
constexpr char kMagic[16] = "obd stat cache1";
constexpr int64_t kRacyWindow = 2'000'000'000;
constexpr time_t kDay = 24 * 3600;

Digest digest_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

// Creates the temp file. One left by a process that died is taken over after a minute.
Fd create_temp(const std::string& path) {
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;
  Fd fd(::open(path.c_str(), flags, 0600));
  struct stat st;
  if (!fd && errno == EEXIST && ::stat(path.c_str(), &st) == 0 && ::time(nullptr) - st.st_mtim.tv_sec > 60) {
    ::unlink(path.c_str());
    fd = Fd(::open(path.c_str(), flags, 0600));
  }
  if (!fd && errno != EEXIST) throw_path("create", path);
  return fd;
}

// Removes caches of roots nobody asked about for long; what is no cache stays.
void remove_old(const std::string& dir) {
  Fd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  int copy = fd ? ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0) : -1;
  if (copy < 0) return;
  for (const auto& name : list_names(Fd(copy), dir)) {
    struct stat st;
    char magic[sizeof kMagic];
    Fd file(::openat(fd.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    const bool ours = file && ::fstat(file.get(), &st) == 0 && S_ISREG(st.st_mode) &&
                      ::read(file.get(), magic, sizeof magic) == sizeof magic &&
                      std::memcmp(magic, kMagic, sizeof magic) == 0;
    if (ours && ::time(nullptr) - st.st_mtim.tv_sec > 30 * kDay) ::unlinkat(fd.get(), name.c_str(), 0);
  }
}

}  // namespace

StatCache::StatCache(std::string file, const Root& root) : file_(std::move(file)), root_(root) {
  load();
  struct stat st;
  if (!old_.empty() && ::stat(file_.c_str(), &st) == 0 && ::time(nullptr) - st.st_mtim.tv_sec > kDay) {
    ::utimensat(AT_FDCWD, file_.c_str(), nullptr, 0);
  }
}

void StatCache::load() {
  std::ifstream in(file_, std::ios::binary);
  if (!in) return;
  std::ostringstream all;
  all << in.rdbuf();
  text_ = std::move(all).str();
  const size_t tail = sizeof(Digest);
  if (text_.size() < sizeof kMagic + tail || std::memcmp(text_.data(), kMagic, sizeof kMagic) != 0) return;
  const size_t end = text_.size() - tail;
  const Digest sum = digest_of(std::string_view(text_).substr(0, end));
  if (std::memcmp(sum.data(), text_.data() + end, tail) != 0) return;
  for (size_t at = sizeof kMagic; at + sizeof(Entry) <= end;) {
    Entry entry;
    std::memcpy(&entry, text_.data() + at, sizeof entry);
    at += sizeof entry;
    if (entry.path_length > end - at) break;
    entry.used = 0;
    old_.emplace(std::string_view(text_).substr(at, entry.path_length), entry);
    at += entry.path_length;
  }
}

const Digest* StatCache::find(const std::string& path, const Node& node) {
  auto at = old_.find(path);
  if (at == old_.end()) return nullptr;
  Entry& e = at->second;
  if (e.dev != node.dev || e.ino != node.ino || e.size != node.size || e.mtime != node.mtime || e.ctime != node.ctime) {
    return nullptr;
  }
  e.used = 1;
  return &e.digest;
}

void StatCache::add(const std::string& path, const Node& node, const Digest& digest, int64_t hashed_at) {
  if (hashed_at - node.ctime < kRacyWindow || hashed_at - node.mtime < kRacyWindow) return;
  std::lock_guard<std::mutex> lock(mutex_);
  fresh_[path] = Entry{node.dev, node.ino, node.size, node.mtime, node.ctime, digest, 0, 1};
}

bool StatCache::still_right(std::string_view path, const Entry& entry) const {
  if (entry.used) return true;
  struct stat st;
  Fd fd = root_.try_open_resolved(std::string(path), O_PATH | O_NOFOLLOW);
  return fd && ::fstat(fd.get(), &st) == 0 && st.st_dev == entry.dev && st.st_ino == entry.ino &&
         nanoseconds(st.st_ctim) == entry.ctime;
}

void StatCache::save() {
  if (fresh_.empty()) return;
  remove_old(dir_name(file_));
  std::string out(kMagic, sizeof kMagic);
  auto append = [&](std::string_view path, Entry entry) {
    entry.path_length = static_cast<uint32_t>(path.size());
    entry.used = 0;
    out.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    out += path;
  };
  for (const auto& [path, entry] : fresh_) append(path, entry);
  for (const auto& [path, entry] : old_) {
    if (fresh_.count(std::string(path)) == 0 && still_right(path, entry)) append(path, entry);
  }
  const Digest sum = digest_of(out);
  out.append(reinterpret_cast<const char*>(sum.data()), sum.size());

  const std::string temp = file_ + ".tmp";
  Fd fd = create_temp(temp);
  if (!fd) return;  // somebody else is saving right now: theirs is as good
  for (size_t done = 0; done < out.size();) {
    ssize_t n = ::write(fd.get(), out.data() + done, out.size() - done);
    if (n < 0) {
      int err = errno;
      ::unlink(temp.c_str());
      throw_path("write", file_, err);
    }
    done += static_cast<size_t>(n);
  }
  if (::rename(temp.c_str(), file_.c_str()) != 0) {
    int err = errno;
    ::unlink(temp.c_str());
    throw_path("rename", file_, err);
  }
}

}  // namespace obd::files
