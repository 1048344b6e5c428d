#include "files/copier.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

bool exists(const Root& root, const std::string& resolved, struct stat& st) {
  Fd fd = root.try_open_resolved(resolved, O_PATH | O_NOFOLLOW);
  if (!fd && errno != ENOENT) throw_path("failed to lstat destination path: stat", resolved);
  if (fd && ::fstat(fd.get(), &st) != 0) throw_path("stat", resolved);
  return static_cast<bool>(fd);
}

}  // namespace

Copier::Copier(Tree& source, const Root& target, const CopyOptions& options, ContentPool& pool, Task& task,
               CopyNotes* notes)
    : source_(source),
      target_(target),
      options_(options),
      pool_(pool),
      task_(task),
      notes_(notes),
      include_(pattern_matcher("includepatterns", options.include)),
      exclude_(pattern_matcher("excludepatterns", options.exclude)) {}

void Copier::make_dirs_to(const std::string& path) {
  for (auto& made : make_dirs(target_, path, options_.mode.value_or(0755), options_.owner, options_.timestamp)) {
    made_.push_back(std::move(made));
  }
}

void Copier::copy(const std::string& source, const std::string& target) {
  links_.clear();
  made_.clear();
  auto [dir, file] = split_path(target);
  make_dirs_to(target_.resolve(file.empty() || file == "." ? target : dir));
  const std::string resolved = target_.resolve(clean_path(target));

  Node* node = source_.resolve(source, options_.follow_links);
  if (!node) throw_path("lstat", source_.resolved_path(source, options_.follow_links), ENOENT);
  const std::string path = target_path(*node, source, resolved);
  if (notes_) notes_->place(source, path);
  Place place = open_place(target_, path, "open");
  const std::string parent = dir_name(path);
  Level top{nullptr, nullptr, "", parent == "/" ? "" : parent, std::move(place.dir), true, false};
  entry(*node, "", top, place.name, false, {});
  if (options_.timestamp) {
    // Making things below has touched the directories made on the way.
    for (auto made = made_.rbegin(); made != made_.rend(); ++made) {
      Place at = open_place(target_, *made, "open");
      set_times(at.dir.get(), at.name, *options_.timestamp, *made);
    }
  }
}

// Where the source goes: to `target` itself, or under its own name into it. Makes the directories up to it.
std::string Copier::target_path(const Node& source, const std::string& source_path, std::string target) {
  struct stat st;
  const bool there = exists(target_, target, st);
  if (source.is_dir() ? !options_.dir_contents && there : there && S_ISDIR(st.st_mode)) {
    target = join_path(target, base_name(source_path));
  }
  const bool contents_of_new = options_.dir_contents && source.is_dir() && !there;
  make_dirs_to(contents_of_new ? target : dir_name(target));
  return target;
}

void Copier::entry(Node& node, const std::string& relative, Level& up, const std::string& name, bool nested,
                   const Match& parent) {
  task_.check();
  Match own;
  bool wanted = true, excluded = false;
  if (!relative.empty()) {
    if (include_) wanted = include_->matches(relative, parent.include, own.include);
    if (exclude_) excluded = exclude_->matches(relative, parent.exclude, own.exclude);
    wanted = wanted && !excluded;
  }
  if (node.is_dir()) return directory(node, relative, up, name, nested, wanted, excluded, own);
  if (!wanted) return;
  ensure(up, nested);
  make_file(node, up, name, up.shown + "/" + name);
}

void Copier::directory(Node& node, const std::string& relative, Level& up, const std::string& name, bool nested,
                       bool wanted, bool excluded, const Match& own) {
  Level level{&up, &node, name, name == "." ? up.shown : up.shown + "/" + name, Fd(), false, false};
  if (wanted) {
    ensure(up, nested);
    level.created = enter(level);
    level.ready = true;
  }
  if (excluded && !exclude_->has_exceptions()) return;
  for (Node* child : source_.children(node)) {
    entry(*child, relative.empty() ? child->name : relative + "/" + child->name, level, child->name, true, own);
  }
  if (!level.ready) return;
  if (level.created || (wanted && nested)) {
    dir_metadata(level);
  } else if (!nested) {
    // The target directory was there already: it keeps its metadata, but takes the source's time.
    set_times(level.fd.get(), "", metadata(node).mtime, level.shown);
  }
}

// Makes a directory, and those above it, that were only waiting for something to be put into them.
void Copier::ensure(Level& level, bool overwrite) {
  if (level.ready) return;
  ensure(*level.up, overwrite);
  level.created = enter(level);
  level.ready = true;
  if (!level.created && overwrite && ::fchmod(level.fd.get(), level.source->mode & 07777) != 0) {
    throw_path("failed to chmod on", level.shown);
  }
}

// Opens the target directory, making it first when it is not there: true then, or when a former run made it.
bool Copier::enter(Level& level) {
  const int up = level.up->fd.get();
  const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  struct stat st;
  const bool there = ::fstatat(up, level.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  const bool replace = there && !S_ISDIR(st.st_mode) && options_.replace_existing;
  if (replace) remove_all(up, level.name, level.shown);
  const bool make = !there || replace;
  if (make && ::mkdirat(up, level.name.c_str(), 0700) != 0) throw_path("failed to mkdir", level.shown);
  level.fd = Fd(::openat(up, level.name.c_str(), flags));
  if (!level.fd) {
    if (errno != ENOTDIR && errno != ELOOP) throw_path("open", level.shown);
    throw FsError("cannot copy to non-directory: " + level.shown, ENOTDIR);
  }
  return notes_ ? notes_->entered(level.shown, !there, make) : make;
}

// Returns whether something was there.
bool Copier::clear_target(const Node& node, Level& up, const std::string& name, const std::string& shown) {
  struct stat st;
  if (::fstatat(up.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    throw_path("failed to lstat file target: lstat", shown);
  }
  if (S_ISDIR(st.st_mode) && !(options_.replace_existing && !node.is_dir())) {
    throw FsError("cannot replace to directory " + shown + " with file", EISDIR);
  }
  remove_all(up.fd.get(), name, shown);
  return true;
}

void Copier::make_file(Node& node, Level& up, const std::string& name, const std::string& shown) {
  if (notes_ && notes_->keep(node, shown)) return;
  const bool was_there = clear_target(node, up, name, shown);
  if (notes_) notes_->wrote(node, shown, !was_there);
  const int dir = up.fd.get();
  if (node.is_symlink()) {
    if (::symlinkat(node.link.c_str(), dir, name.c_str()) != 0) throw_path("failed to create symlink:", shown);
    return special_metadata(node, up, name, shown);
  }
  if (!node.is_file()) {
    if (::mknodat(dir, name.c_str(), (node.mode & S_IFMT) | 0600, node.rdev) != 0) {
      throw_path("failed to create device: mknod", shown);
    }
    return special_metadata(node, up, name, shown);
  }
  if (node.nlink > 1) {
    auto [first, fresh] = links_.try_emplace({node.dev, node.ino}, shown);
    if (!fresh) {
      Place leader = open_place(target_, first->second, "failed to create hard link: open");
      if (::linkat(leader.dir.get(), leader.name.c_str(), dir, name.c_str(), 0) != 0) {
        throw_path("failed to create hard link: link " + first->second, shown);
      }
      return;
    }
  }
  Fd fd(::openat(dir, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) throw_path("failed to copy files: failed to open target " + shown + ": open", shown);
  pool_.submit({&source_, &node, std::move(fd), metadata(node), shown});
}

Metadata Copier::metadata(const Node& node) const {
  Metadata out{options_.owner.value_or(Owner{node.uid, node.gid}), node.mode & 07777,
               options_.timestamp.value_or(node.mtime)};
  if (options_.change) {
    out.mode = options_.change->apply(node.mode);
  } else if (options_.mode) {
    out.mode = *options_.mode & 07777;
  }
  return out;
}

void Copier::dir_metadata(const Level& level) {
  const Metadata wanted = metadata(*level.source);
  const int fd = level.fd.get();
  with_context("failed to copy file info", [&] {
    set_owner(fd, "", wanted.owner, level.shown);
    if (::fchmod(fd, wanted.mode) != 0) throw_path("failed to chmod", level.shown);
  });
  const std::string path = source_.path(*level.source);
  Xattrs xattrs;
  if (level.source->parent || !source_.options().reset_owner) {
    Fd source = source_.dir().try_open_resolved(path, O_RDONLY | O_DIRECTORY);
    if (source) xattrs = read_xattrs(source.get(), "", path);
  }
  copy_xattrs(xattrs, fd, "", level.shown);
  if (notes_) notes_->dir_metadata(level.shown, xattrs);
  set_times(fd, "", wanted.mtime, level.shown);
}

void Copier::special_metadata(const Node& node, const Level& up, const std::string& name, const std::string& shown) {
  const Metadata wanted = metadata(node);
  const int dir = up.fd.get();
  with_context("failed to copy file info", [&] {
    set_owner(dir, name, wanted.owner, shown);
    if (!node.is_symlink() && ::fchmodat(dir, name.c_str(), wanted.mode, 0) != 0) throw_path("failed to chmod", shown);
  });
  Place source = open_place(source_.dir(), source_.path(node), "open");
  copy_xattrs(read_xattrs(source.dir.get(), source.name, shown), dir, name, shown);
  set_times(dir, name, wanted.mtime, shown);
  task_.files++;
}

}  // namespace obd::files
