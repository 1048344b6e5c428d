#include "files/copy_notes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "files/fs_error.h"

namespace obd::files {

namespace {

// The file: this magic, the digest of the places, then for each path its Entry and the path's bytes, then the
// SHA-256 of it all.
constexpr char kMagic[16] = "obd copy notes1";

Digest digest_of(std::string_view bytes) {
  Sha256 hash;
  hash.update(bytes);
  return hash.finish();
}

Digest chain(const Digest& before, std::initializer_list<std::string_view> fields) {
  Sha256 hash;
  hash.update(before.data(), before.size());
  for (auto field : fields) hash.field(field);
  return hash.finish();
}

// Zeros for a file that has to be copied each time: one of several hard links, or one whose content is not known.
Digest state_of(const Node& file) {
  if (!file.digested || file.nlink > 1) return {};
  Sha256 hash;
  for (uint64_t number : {uint64_t{file.mode}, uint64_t{file.uid}, uint64_t{file.gid}, file.dev, file.ino, file.rdev, file.size,
                          static_cast<uint64_t>(file.mtime), static_cast<uint64_t>(file.ctime)}) {
    hash.number(number);
  }
  hash.field(file.link);
  hash.update(file.digest.data(), file.digest.size());
  return hash.finish();
}

void write_all(int fd, std::string_view bytes, const std::string& file) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("write", file);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
}

// Removes an entry of a directory, which keeps its times.
void remove_quietly(const Root& root, const std::string& path, bool dir) {
  const Place place = open_place(root, path, "unlinkat");
  struct stat up;
  if (::fstat(place.dir.get(), &up) != 0) throw_path("stat", path);
  if (::unlinkat(place.dir.get(), place.name.c_str(), dir ? AT_REMOVEDIR : 0) != 0) throw_path("unlinkat", path);
  const timespec times[2] = {up.st_atim, up.st_mtim};
  if (::futimens(place.dir.get(), times) != 0) throw_path("utimensat", path);
}

}  // namespace

CopyNotes::CopyNotes(const std::string& former) : again_(true) {
  std::ifstream in(former, std::ios::binary);
  if (!in) throw_path("open", former);
  std::ostringstream all;
  all << in.rdbuf();
  const std::string text = std::move(all).str();
  const size_t tail = sizeof(Digest), head = sizeof kMagic + sizeof(Digest);
  const bool whole = text.size() >= head + tail && std::memcmp(text.data(), kMagic, sizeof kMagic) == 0 &&
                     std::memcmp(digest_of(std::string_view(text).substr(0, text.size() - tail)).data(),
                                 text.data() + text.size() - tail, tail) == 0;
  if (!whole) throw FsError(former + ": not the notes of a copy, or damaged", EINVAL);
  std::memcpy(former_places_.data(), text.data() + sizeof kMagic, sizeof(Digest));
  for (size_t at = head; at < text.size() - tail;) {
    Entry entry;
    std::memcpy(&entry, text.data() + at, sizeof entry);
    at += sizeof entry;
    former_.emplace_hint(former_.end(), text.substr(at, entry.path_length), entry);
    at += entry.path_length;
  }
}

const CopyNotes::Entry* CopyNotes::former(const std::string& path, bool dir) {
  const auto found = former_.find(path);
  if (found == former_.end()) return nullptr;
  // Where a directory takes a file's place, or the reverse, the files below have a say in what happens.
  if (found->second.dir != dir) sound_ = false;
  return &found->second;
}

void CopyNotes::place(const std::string& source, const std::string& path) {
  places_ = chain(places_, {source, path});
  place_count_++;
}

bool CopyNotes::keep(const Node& file, const std::string& path) {
  const Entry* old = former(path, false);
  // What another source of this copy has brought there is not what the former run left.
  if (!old || old->state == Digest{} || now_.count(path) != 0 || old->state != state_of(file)) return false;
  now_.emplace(path, *old);
  return true;
}

void CopyNotes::wrote(const Node& file, const std::string& path, bool fresh) {
  const Entry* old = former(path, false);
  auto [at, first] = now_.try_emplace(path);
  if (first) at->second.fresh = old ? old->fresh : fresh;
  if (at->second.dir) sound_ = false;
  at->second.dir = 0;
  at->second.link = file.is_symlink();
  at->second.state = state_of(file);
}

bool CopyNotes::entered(const std::string& path, bool fresh, bool made) {
  const Entry* old = former(path, true);
  auto [at, first] = now_.try_emplace(path);
  Entry& entry = at->second;
  if (first) {
    entry.dir = 1;
    entry.fresh = old ? old->fresh : fresh;
    entry.made = old ? old->made : made;
  } else if (!entry.dir) {
    sound_ = false;
  }
  entry.state = chain(entry.state, {"entered"});
  return first ? entry.made : made;
}

void CopyNotes::dir_metadata(const std::string& path, const Xattrs& xattrs) {
  Digest& state = now_[path].state;
  state = chain(state, {"metadata"});
  for (const auto& [key, value] : xattrs) state = chain(state, {key, value});
}

bool CopyNotes::settle(const Root& target) {
  if (!again_) return true;
  if (!sound_ || places_ != former_places_) return false;
  for (const auto& [path, entry] : now_) {
    const auto old = former_.find(path);
    if (entry.dir && old != former_.end() && old->second.state != entry.state) return false;
  }
  for (auto old = former_.rbegin(); old != former_.rend(); ++old) {
    const auto& [path, entry] = *old;
    if (now_.count(path) != 0) continue;
    // What was there below would come to light again, and later sources would not have gone through a link.
    if (!entry.fresh || (entry.link && place_count_ > 1)) return false;
    remove_quietly(target, path, entry.dir);
  }
  return true;
}

CopyNotes::Saved CopyNotes::save(const std::string& file) const {
  std::string out(kMagic, sizeof kMagic);
  out.append(reinterpret_cast<const char*>(places_.data()), places_.size());
  for (const auto& [path, noted] : now_) {
    Entry entry = noted;
    entry.path_length = static_cast<uint32_t>(path.size());
    out.append(reinterpret_cast<const char*>(&entry), sizeof entry);
    out += path;
  }
  const Digest sum = digest_of(out);
  out.append(reinterpret_cast<const char*>(sum.data()), sum.size());
  Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) throw_path("create", file);
  write_all(fd.get(), out, file);
  return {digest_of(out), out.size()};
}

}  // namespace obd::files
