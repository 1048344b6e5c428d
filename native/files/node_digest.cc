#include "files/node_digest.h"

#include <fcntl.h>
#include <sys/sysmacros.h>

#include <ctime>
#include <memory>

#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/stat_cache.h"
#include "files/xattrs.h"

namespace obd::files {

namespace {

constexpr size_t kBuffer = 256 << 10;

int64_t now() {
  timespec t;
  ::clock_gettime(CLOCK_REALTIME, &t);
  return nanoseconds(t);
}

void add_xattrs(Sha256& hash, const Xattrs& xattrs) {
  for (const auto& [key, value] : xattrs) {
    if (!is_portable_xattr(key)) continue;
    hash.field(key);
    hash.field(value);
  }
  hash.number(0);
}

void add_content(const Tree& tree, const Node& node, int fd, Sha256& hash, Task& task) {
  static thread_local std::vector<char> buffer(kBuffer);
  uint64_t done = 0;
  while (true) {
    task.check();
    ssize_t n = ::read(fd, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("read", tree.shown(node));
    if (n == 0) break;
    hash.update(buffer.data(), static_cast<size_t>(n));
    done += static_cast<uint64_t>(n);
    task.bytes += static_cast<uint64_t>(n);
    if (done >= node.size && static_cast<size_t>(n) < buffer.size()) break;
  }
  tree.check_unchanged(node, fd);
}

Digest read_digest(const Tree& tree, const Node& node, Task& task) {
  Sha256 hash;
  const std::string path = tree.path(node);
  if (S_ISREG(node.mode)) {
    Fd fd = tree.open_file(node);
    add_xattrs(hash, read_xattrs(fd.get(), "", path));
    add_content(tree, node, fd.get(), hash, task);
    task.files++;
  } else if (node.is_dir()) {
    Fd fd = tree.dir().open_resolved(path, O_RDONLY | O_DIRECTORY);
    add_xattrs(hash, read_xattrs(fd.get(), "", path));
  } else {
    Place place = open_place(tree.dir(), path, "open");
    add_xattrs(hash, read_xattrs(place.dir.get(), place.name, path));
  }
  return hash.finish();
}

}  // namespace

void digest_nodes(Tree& tree, const std::vector<Node*>& nodes, Task& task) {
  const std::string& stat_cache = tree.options().stat_cache;
  std::vector<Node*> unknown;
  std::unique_ptr<StatCache> cache;
  for (Node* node : nodes) {
    if (node->digested || (node->parent == nullptr && tree.options().reset_owner)) continue;
    if (!cache && !stat_cache.empty()) cache = std::make_unique<StatCache>(stat_cache, tree.dir());
    const Digest* known = cache ? cache->find(tree.path(*node), *node) : nullptr;
    if (known) {
      node->digest = *known;
      node->digested = true;
    } else {
      unknown.push_back(node);
    }
  }
  // Neighbours share a piece of work: handing out single small files would cost more than hashing them.
  constexpr size_t kBatch = 16;
  parallel_for((unknown.size() + kBatch - 1) / kBatch, [&](size_t batch) {
    for (size_t i = batch * kBatch; i < std::min(unknown.size(), (batch + 1) * kBatch); i++) {
      task.check();
      Node& node = *unknown[i];
      const int64_t started = now();
      node.digest = read_digest(tree, node, task);
      node.digested = true;
      if (cache) cache->add(tree.path(node), node, node.digest, started);
    }
  });
  try {
    if (cache) cache->save();
  } catch (const FsError&) {
    // The digests are right without it; the next run reads the files again.
  }
}

Digest node_digest(const Node& node) {
  Sha256 hash;
  const bool device = S_ISCHR(node.mode) || S_ISBLK(node.mode);
  const uint32_t type = S_ISSOCK(node.mode) ? S_IFREG : node.mode & S_IFMT;
  hash.number(type | (node.is_symlink() ? 0777 : node.mode & 07777));
  hash.number(node.uid);
  hash.number(node.gid);
  hash.number(node.is_file() ? node.size : 0);
  hash.field(node.link);
  hash.number(device ? major(node.rdev) : 0);
  hash.number(device ? minor(node.rdev) : 0);
  hash.update(node.digest.data(), node.digest.size());
  return hash.finish();
}

}  // namespace obd::files
