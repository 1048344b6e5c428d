#include "files/unpacker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>

#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

const std::string kWhiteout = ".wh.";
const std::string kOpaque = ".wh..wh..opq";

bool starts_with(const std::string& s, const std::string& head) { return s.compare(0, head.size(), head) == 0; }

void write_at(int fd, std::string_view bytes, uint64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("write", path);
    bytes.remove_prefix(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

// Writes the entry's stored bytes to where its map says, or one after the other.
void write_content(const TarEntry& entry, TarReader& reader, int fd, const std::string& path, Task& task) {
  if (!entry.sparse) {
    uint64_t offset = 0;
    for (std::string_view piece = reader.data(); !piece.empty(); piece = reader.data()) {
      task.check();
      write_at(fd, piece, offset, path);
      offset += piece.size();
      task.bytes += piece.size();
    }
    return;
  }
  std::string_view piece;
  for (auto [offset, length] : entry.data) {
    while (length > 0) {
      task.check();
      if (piece.empty()) piece = reader.data();
      const std::string_view part = piece.substr(0, std::min<uint64_t>(length, piece.size()));
      write_at(fd, part, offset, path);
      piece.remove_prefix(part.size());
      offset += part.size();
      length -= part.size();
      task.bytes += part.size();
    }
  }
  if (::ftruncate(fd, static_cast<off_t>(entry.size)) != 0) throw_path("truncate", path);
}

}  // namespace

void Unpacker::run(TarReader& reader) {
  if (options_.mode == UnpackMode::layer) return unpack(reader);
  try {
    unpack(reader);
  } catch (const TarCutShort&) {
    throw FsError("unexpected EOF", EBADMSG);
  } catch (const FormatError&) {
    throw FsError("archive/tar: invalid tar header", EBADMSG);
  }
}

void Unpacker::unpack(TarReader& reader) {
  TarEntry current;
  while (reader.next(current)) {
    task_.check();
    entry(current, reader);
    entries_++;
  }
  // Only now: making entries in a directory touches it.
  for (const auto& [path, mtime] : directories_) {
    Fd dir = root_.try_open_resolved(path, O_RDONLY | O_DIRECTORY);
    if (dir) set_times(dir.get(), "", mtime, path);
  }
}

// A directory something was put into counts as this layer's, too.
void Unpacker::remember(std::string path) {
  if (options_.mode != UnpackMode::layer) return;
  while (!path.empty() && unpacked_.insert(path).second) path.resize(path.rfind('/'));
}

// Whether a link on the way to `dir` points to something that is not there.
bool Unpacker::leads_nowhere(const std::string& dir) const {
  for (std::string path = clean_path(dir); path != "/"; path = dir_name(path)) {
    if (root_.try_open(path, O_PATH)) return false;
    if (root_.try_open(path, O_PATH | O_NOFOLLOW)) return true;
  }
  return false;
}

// The directory an entry lies in, made when missing. The one used last stays open.
Unpacker::Parent& Unpacker::parent_of(const std::string& dir, const std::string& entry_path) {
  if (parent_.dir && parent_.asked == dir) return parent_;
  parent_ = Parent{};
  const std::string path = root_.resolve(dir);
  // Through a link that leads nowhere docker unpacks a layer, but not an archive.
  if (options_.mode == UnpackMode::archive && leads_nowhere(dir)) throw_path("open", entry_path, ENOENT);
  make_dirs(root_, path, 0755, std::nullopt, std::nullopt);
  parent_ = {dir, path, root_.open_resolved(path, O_RDONLY | O_DIRECTORY)};
  return parent_;
}

void Unpacker::entry(const TarEntry& entry, TarReader& reader) {
  const std::string name = clean_path("/" + entry.name);
  if (name == "/") return;
  // BuildKit's ADD knows no other types, though its decoder does; a layer may have them.
  const char type = options_.mode == UnpackMode::archive ? entry.stored_type : entry.type;
  if (std::string("0123456").find(type) == std::string::npos) {
    throw FsError("unhandled tar header type " + std::to_string(static_cast<int>(type)), EBADMSG);
  }
  const auto [dir, base] = split_path(name);
  Parent& parent = parent_of(dir, name);
  const std::string path = (parent.path == "/" ? "" : parent.path) + "/" + base;
  if (options_.mode == UnpackMode::layer && starts_with(base, kWhiteout) && whiteout(base, parent)) return;

  if (entry.type == '5') {
    if (::mkdirat(parent.dir.get(), base.c_str(), 0700) != 0) {
      struct stat st;
      if (errno != EEXIST) throw_path("mkdir", path);
      if (::fstatat(parent.dir.get(), base.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) throw_path("lstat", path);
      if (!S_ISDIR(st.st_mode)) {
        clear(parent, base, path);
        if (::mkdirat(parent.dir.get(), base.c_str(), 0700) != 0) throw_path("mkdir", path);
      }
    }
    metadata(entry, parent.dir.get(), base, path);
    directories_.emplace_back(path, entry.mtime);
  } else if (entry.type == '0') {
    make_file(entry, reader, parent, base, path);
  } else {
    make_link(entry, parent, base, path);
  }
  remember(path);
}

// Applies a whiteout; false when the name only looks like one.
bool Unpacker::whiteout(const std::string& base, Parent& parent) {
  if (base == kOpaque) {
    int copy = ::openat(parent.dir.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (copy < 0) throw_path("open", parent.path);
    hide_lower(Fd(copy), parent.path == "/" ? "" : parent.path);
    return true;
  }
  const std::string hidden = base.substr(kWhiteout.size());
  if (hidden.empty() || hidden == "." || hidden == "..") throw FsError("invalid whiteout name: " + base, EBADMSG);
  if (starts_with(hidden, kWhiteout)) return true;  // AUFS's own bookkeeping
  remove_lower(parent.dir.get(), hidden, (parent.path == "/" ? "" : parent.path) + "/" + hidden);
  return true;
}

// Removes what layers below brought at `path`, but nothing this layer has put there itself.
void Unpacker::remove_lower(int dirfd, const std::string& name, const std::string& path) {
  if (unpacked_.count(path) == 0) return remove_all(dirfd, name, path);
  Fd dir(::openat(dirfd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (dir) hide_lower(std::move(dir), path);
}

void Unpacker::hide_lower(Fd dir, const std::string& path) {
  int copy = ::fcntl(dir.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw_path("open", path);
  for (const auto& name : list_names(Fd(copy), path)) remove_lower(dir.get(), name, path + "/" + name);
}

void Unpacker::clear(Parent& parent, const std::string& base, const std::string& path) {
  remove_all(parent.dir.get(), base, path);
}

void Unpacker::make_file(const TarEntry& entry, TarReader& reader, Parent& parent, const std::string& base,
                         const std::string& path) {
  const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  Fd fd(::openat(parent.dir.get(), base.c_str(), flags, 0600));
  if (!fd && errno == EEXIST) {
    clear(parent, base, path);
    fd = Fd(::openat(parent.dir.get(), base.c_str(), flags, 0600));
  }
  if (!fd) throw_path("open", path);
  write_content(entry, reader, fd.get(), path, task_);
  metadata(entry, fd.get(), "", path);
  task_.files++;
}

void Unpacker::make_link(const TarEntry& entry, Parent& parent, const std::string& base, const std::string& path) {
  const int dir = parent.dir.get();
  auto make = [&]() {
    if (entry.type == '2') return ::symlinkat(entry.link.c_str(), dir, base.c_str());
    if (entry.type == '1') {
      Place target = open_place(root_, root_.resolve(entry.link, false), "link");
      return ::linkat(target.dir.get(), target.name.c_str(), dir, base.c_str(), 0);
    }
    const mode_t kind = entry.type == '3' ? S_IFCHR : entry.type == '4' ? S_IFBLK : S_IFIFO;
    return ::mknodat(dir, base.c_str(), kind | 0600, kind == S_IFIFO ? 0 : makedev(entry.major, entry.minor));
  };
  const std::string what = entry.type == '1' ? "link " + clean_path("/" + entry.link) : entry.type == '2' ? "symlink " + entry.link : "mknod";
  if (make() != 0) {
    if (errno != EEXIST) throw_path(what, path);
    // A link to itself would go away with its target.
    if (entry.type == '1' && root_.resolve(entry.link, false) == path) return;
    clear(parent, base, path);
    if (make() != 0) throw_path(what, path);
  }
  metadata(entry, dir, base, path);
  task_.files++;
}

// Owner, xattrs, mode, times of dirfd/base (base "": the descriptor itself). In this order: a chown takes
// set-id bits and capabilities away.
void Unpacker::metadata(const TarEntry& entry, int dirfd, const std::string& base, const std::string& path) {
  set_owner(dirfd, base, options_.owner.value_or(Owner{entry.uid, entry.gid}), path);
  for (const auto& [key, value] : entry.xattrs) {
    const int err = set_xattr(dirfd, base, key, value);
    // user.* is for files and directories only; some file systems have no xattrs at all.
    const bool harmless = err == ENOTSUP || (err == EPERM && (starts_with(key, "user.") || options_.mode == UnpackMode::archive));
    if (err != 0 && !harmless) throw_path("failed to setxattr " + key + " of", path, err);
  }
  bool symlink = entry.type == '2';
  if (entry.type == '1') {
    struct stat st;
    symlink = ::fstatat(dirfd, base.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
  }
  if (!symlink) {
    const int rc = base.empty() ? ::fchmod(dirfd, entry.mode) : ::fchmodat(dirfd, base.c_str(), entry.mode, 0);
    if (rc != 0) throw_path("chmod", path);
  }
  set_times(dirfd, base, std::max<int64_t>(entry.mtime, 0), path);
}

}  // namespace obd::files
