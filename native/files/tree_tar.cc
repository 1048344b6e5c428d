#include "files/tree_tar.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <map>
#include <set>

#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/node_compare.h"
#include "files/tar_writer.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

constexpr int64_t kSecond = 1'000'000'000;
using Inode = std::pair<uint64_t, uint64_t>;

char type_of(const Node& node) {
  switch (node.mode & S_IFMT) {
    case S_IFDIR: return '5';
    case S_IFLNK: return '2';
    case S_IFCHR: return '3';
    case S_IFBLK: return '4';
    case S_IFIFO: return '6';
    default: return '0';
  }
}

TarEntry entry_of(const Tree& tree, const Node& node) {
  TarEntry out;
  out.name = tree.path(node) + (node.is_dir() ? "/" : "");
  out.link = node.link;
  out.type = type_of(node);
  out.mode = node.is_symlink() ? 0777 : node.mode & 07777;
  out.uid = node.uid;
  out.gid = node.gid;
  out.size = node.is_file() ? node.size : 0;
  out.mtime = node.mtime;
  if (out.type == '3' || out.type == '4') {
    out.major = major(node.rdev);
    out.minor = minor(node.rdev);
  }
  return out;
}

void write_content(const Tree& tree, const Node& node, TarWriter& tar, Task& task) {
  if (!S_ISREG(node.mode) || node.size == 0) return;
  static thread_local std::vector<char> buffer(256 << 10);
  Fd fd = tree.open_file(node);
  ::posix_fadvise(fd.get(), 0, 0, POSIX_FADV_SEQUENTIAL);
  for (uint64_t left = node.size; left > 0;) {
    task.check();
    ssize_t n = ::read(fd.get(), buffer.data(), std::min<uint64_t>(left, buffer.size()));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("read", tree.path(node));
    if (n == 0) break;
    tar.data({buffer.data(), static_cast<size_t>(n)});
    left -= static_cast<uint64_t>(n);
  }
  tree.check_unchanged(node, fd.get());
}

// Walks two trees side by side and writes what is different.
class Changeset {
 public:
  Changeset(Tree* lower, Tree& upper, BlobWriter& out, std::optional<int64_t> epoch, bool exact, Task& task)
      : lower_(lower),
        upper_(upper),
        epoch_(epoch),
        exact_(exact),
        task_(task),
        tar_([&out](std::string_view b) { out.write(b); }, exact) {}

  void run() {
    walk(lower_ ? &lower_->root() : nullptr, upper_.root());
    tar_.finish();
  }

 private:
  void walk(Node* lower_dir, Node& upper_dir) {
    std::vector<Node*> below;
    if (lower_dir) below = lower_->children(*lower_dir);
    auto old = below.begin();
    for (Node* node : upper_.children(upper_dir)) {
      task_.check();
      for (; old != below.end() && (*old)->name < node->name; ++old) removed(upper_dir, (*old)->name);
      Node* before = old != below.end() && (*old)->name == node->name ? *old++ : nullptr;
      visit(before, *node);
    }
    for (; old != below.end(); ++old) removed(upper_dir, (*old)->name);
  }

  void visit(Node* before, Node& node) {
    const bool same = before && same_entry(*lower_, *before, upper_, node, task_);
    if (!same) {
      write(node);
    } else if (!exact_ && !node.is_dir() && node.nlink > 1) {
      unchanged_link(node);
    }
    if (node.is_dir()) walk(before && before->is_dir() ? before : nullptr, node);
  }

  void removed(Node& dir, const std::string& name) {
    parents(dir);
    TarEntry entry;
    const std::string path = upper_.path(dir);
    entry.name = (path.empty() ? "" : path + "/") + ".wh." + name;
    tar_.header(entry);
  }

  // An unchanged name of a file that may have got a new one: it has to be linked to that again.
  void unchanged_link(Node& node) {
    auto leader = leaders_.find({node.dev, node.ino});
    if (leader == leaders_.end()) {
      followers_[{node.dev, node.ino}].push_back(&node);
    } else {
      write_link(node, leader->second);
    }
  }

  void write(Node& node) {
    if (S_ISSOCK(node.mode)) return;
    parents(*node.parent);
    const Inode inode{node.dev, node.ino};
    const bool linked = !node.is_dir() && node.nlink > 1;
    if (linked) {
      auto [leader, fresh] = leaders_.try_emplace(inode, upper_.path(node));
      if (!fresh) return write_link(node, leader->second);
    }
    tar_.header(entry(node));
    if (node.is_dir()) added_.insert(&node);
    write_content(upper_, node, tar_, task_);
    task_.files++;
    auto followers = followers_.find(inode);
    if (!linked || followers == followers_.end()) return;
    for (Node* follower : followers->second) write_link(*follower, upper_.path(node));
    followers_.erase(followers);
  }

  void write_link(Node& node, const std::string& leader) {
    parents(*node.parent);
    TarEntry link = entry(node);
    link.type = '1';
    link.link = leader;
    link.size = 0;
    tar_.header(link);
  }

  // Every entry comes after the directories it lies in, the root excepted.
  void parents(Node& dir) {
    if (!dir.parent || added_.count(&dir)) return;
    parents(*dir.parent);
    added_.insert(&dir);
    tar_.header(entry(dir));
  }

  TarEntry entry(const Node& node) {
    TarEntry out = entry_of(upper_, node);
    if (epoch_) out.mtime = std::min(out.mtime, *epoch_ * kSecond);
    if (node.is_symlink()) return out;
    Place place = open_place(upper_.dir(), upper_.path(node), "open");
    for (auto& xattr : read_xattrs(place.dir.get(), place.name, out.name)) {
      if (exact_ ? is_portable_xattr(xattr.first) : xattr.first == "security.capability") out.xattrs.push_back(std::move(xattr));
    }
    return out;
  }

  Tree* lower_;
  Tree& upper_;
  std::optional<int64_t> epoch_;
  bool exact_;
  Task& task_;
  TarWriter tar_;
  std::set<const Node*> added_;
  std::map<Inode, std::string> leaders_;             // the path written first for an inode
  std::map<Inode, std::vector<Node*>> followers_;    // unchanged names met before any was written
};

void write_below(Tree& tree, Node& dir, TarWriter& tar, std::map<Inode, std::string>& leaders,
                 std::optional<int64_t> epoch, Task& task) {
  for (Node* node : tree.children(dir)) {
    task.check();
    TarEntry entry = entry_of(tree, *node);
    entry.mtime = epoch ? *epoch * kSecond : entry.mtime + kSecond / 2;  // the writer rounds down
    Place place = open_place(tree.dir(), tree.path(*node), "open");
    for (auto& xattr : read_xattrs(place.dir.get(), place.name, entry.name)) {
      if (is_portable_xattr(xattr.first)) entry.xattrs.push_back(std::move(xattr));
    }
    bool link = false;
    if (!node->is_dir() && node->nlink > 1) {
      auto [leader, fresh] = leaders.try_emplace({node->dev, node->ino}, tree.path(*node));
      link = !fresh;
      if (link && !node->is_symlink()) {
        entry.type = '1';
        entry.link = leader->second;
        entry.size = 0;
      }
    }
    tar.header(entry);
    if (!link) write_content(tree, *node, tar, task);
    task.files++;
    if (node->is_dir()) write_below(tree, *node, tar, leaders, epoch, task);
  }
}

}  // namespace

void write_changeset(Tree* lower, Tree& upper, BlobWriter& out, std::optional<int64_t> epoch, Task& task) {
  Changeset(lower, upper, out, epoch, false, task).run();
}

void write_exact_changes(Tree& lower, Tree& upper, BlobWriter& out, Task& task) {
  Changeset(&lower, upper, out, {}, true, task).run();
}

void write_root_tar(Tree& tree, BlobWriter& out, std::optional<int64_t> epoch, Task& task) {
  TarWriter tar([&out](std::string_view bytes) { out.write(bytes); });
  std::map<Inode, std::string> leaders;
  write_below(tree, tree.root(), tar, leaders, epoch, task);
  tar.finish();
}

}  // namespace obd::files
