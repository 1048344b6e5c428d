#include "files/tree.h"

#include <fcntl.h>

#include <algorithm>
#include <deque>

#include "files/follow_links.h"
#include "files/fs_error.h"
#include "files/go_path.h"

namespace obd::files {

namespace {

constexpr int kMaxLinks = 255;

void take_stat(Node& node, const struct stat& st) {
  node.mode = st.st_mode;
  node.uid = st.st_uid;
  node.gid = st.st_gid;
  node.nlink = st.st_nlink;
  node.dev = st.st_dev;
  node.ino = st.st_ino;
  node.rdev = st.st_rdev;
  node.size = static_cast<uint64_t>(st.st_size);
  node.mtime = nanoseconds(st.st_mtim);
  node.ctime = nanoseconds(st.st_ctim);
  if (node.is_dir()) node.dir = std::make_unique<DirPart>();
}

}  // namespace

bool Node::same_file(const struct stat& st) const {
  return st.st_ino == ino && st.st_dev == dev && static_cast<uint64_t>(st.st_size) == size && st.st_mode == mode &&
         nanoseconds(st.st_mtim) == mtime && nanoseconds(st.st_ctim) == ctime;
}

Tree::Tree(TreeOptions options) : options_(std::move(options)), root_(options_.root) {
  std::vector<std::string> include = options_.include;
  if (!options_.follow.empty()) {
    auto targets = follow_links(root_, options_.follow);
    if (!targets.empty()) {
      include.insert(include.end(), targets.begin(), targets.end());
      include = drop_nested(include);
    }
  }
  include_ = pattern_matcher("includepatterns", include);
  exclude_ = pattern_matcher("excludepatterns", options_.exclude);
  struct stat st;
  if (::fstat(root_.fd(), &st) != 0) throw_path("stat", options_.root);
  take_stat(root_node_, st);
  if (options_.reset_owner) {
    root_node_.uid = root_node_.gid = 0;
    root_node_.mode = S_IFDIR | 0755;
  }
}

std::string Tree::path(const Node& node) const {
  if (!node.parent) return "";
  std::string out = path(*node.parent);
  if (!out.empty()) out += '/';
  return out += node.name;
}

std::string Tree::shown(const Node& node) const {
  return options_.reset_owner ? join_path(root_.path(), path(node)) : "/" + path(node);
}

// Reads a directory's entries and keeps those the patterns want, and the directories below which they may
// want something.
void Tree::load(Node& dir) {
  if (dir.dir->loaded) return;
  dir.dir->loaded = true;
  const std::string own = path(dir);
  Fd fd = root_.try_open_resolved(own, O_RDONLY | O_DIRECTORY);
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return;  // gone meanwhile
    throw_path("open", shown(dir));
  }
  int copy = ::fcntl(fd.get(), F_DUPFD_CLOEXEC, 0);
  if (copy < 0) throw_path("open", shown(dir));
  auto names = list_names(Fd(copy), shown(dir));
  dir.dir->children.reserve(names.size());
  std::string child_path = own.empty() ? "" : own + "/";
  const size_t base = child_path.size();
  for (const auto& name : names) {
    if (&dir == &root_node_ && options_.skip_lost_found && name == "lost+found") continue;
    child_path.resize(base);
    child_path += name;
    add_child(dir, fd.get(), name, child_path);
  }
}

bool Tree::add_child(Node& dir, int dirfd, const std::string& name, const std::string& path) {
  Node node;
  MatchInfo include_info, exclude_info;
  if (include_ && !include_->matches(path, dir.dir->include, include_info)) {
    if (!include_->include_may_match_below(path)) return false;
    node.selected = false;
  }
  if (exclude_ && exclude_->matches(path, dir.dir->exclude, exclude_info)) {
    if (!exclude_->exception_may_match_below(path)) return false;
    node.selected = false;
  }
  struct stat st;
  if (::fstatat(dirfd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    if (errno == ENOENT) return false;
    throw_path("lstat", path);
  }
  if (!node.selected && !S_ISDIR(st.st_mode)) return false;
  node.name = name;
  node.parent = &dir;
  take_stat(node, st);
  if (options_.reset_owner) node.uid = node.gid = 0;
  if (node.is_symlink()) node.link = read_link(dirfd, name, path);
  if (node.dir) {
    node.dir->include = std::move(include_info);
    node.dir->exclude = std::move(exclude_info);
  }
  dir.dir->children.push_back(std::move(node));
  return true;
}

bool Tree::in_view(Node& node) {
  if (node.selected) return true;
  if (!node.exists_known) {
    load(node);
    node.exists_known = true;
    for (auto& below : node.dir->children) node.exists = node.exists || in_view(below);
  }
  return node.exists;
}

std::vector<Node*> Tree::children(Node& dir) {
  load(dir);
  std::vector<Node*> out;
  out.reserve(dir.dir->children.size());
  for (auto& node : dir.dir->children) {
    if (in_view(node)) out.push_back(&node);
  }
  return out;
}

Node* Tree::child(Node& dir, const std::string& name) {
  load(dir);
  auto& list = dir.dir->children;
  auto at = std::lower_bound(list.begin(), list.end(), name, [](const Node& n, const std::string& s) { return n.name < s; });
  return at != list.end() && at->name == name && in_view(*at) ? &*at : nullptr;
}

Node* Tree::resolve(const std::string& path, bool follow_last) {
  auto parts = path_components(path);
  std::deque<std::string> pending(parts.begin(), parts.end());
  Node* current = &root_node_;
  int links = 0;
  while (!pending.empty()) {
    std::string part = std::move(pending.front());
    pending.pop_front();
    if (part == "..") {
      current = current->parent ? current->parent : current;
      continue;
    }
    if (!current->is_dir()) return nullptr;
    Node* next = child(*current, part);
    if (!next) return nullptr;
    if (!next->is_symlink() || (pending.empty() && !follow_last)) {
      current = next;
      continue;
    }
    if (++links > kMaxLinks) throw FsError("too many links", ELOOP);
    if (!next->link.empty() && next->link[0] == '/') current = &root_node_;
    auto more = path_components(next->link);
    pending.insert(pending.begin(), more.begin(), more.end());
  }
  return current;
}

void Tree::changed(const Node& node) const {
  throw FsError("file \"" + path(node) + "\" changed during the build", EBUSY);
}

Fd Tree::open_file(const Node& node) const {
  const std::string name = path(node);
  Fd fd = root_.try_open_resolved(name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
  if (!fd) {
    if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP || errno == ENXIO) changed(node);
    throw_path("open", shown(node));
  }
  check_unchanged(node, fd.get());
  return fd;
}

void Tree::check_unchanged(const Node& node, int fd) const {
  struct stat st;
  if (::fstat(fd, &st) != 0) throw_path("stat", shown(node));
  if (!node.same_file(st)) changed(node);
}

}  // namespace obd::files
