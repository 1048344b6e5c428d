// A tree of files as a build sees it: a root directory cut down by include, exclude and follow patterns
// (what BuildKit's client would send of a local context), or the whole of a mounted file system. Directories
// are read when somebody asks for them, once; what was read stays as it was, so the tree is one consistent
// picture that later copies are checked against.
#pragma once
#include <sys/stat.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "files/patterns.h"
#include "files/root.h"
#include "files/sha256.h"

namespace obd::files {

struct TreeOptions {
  std::string root;
  std::vector<std::string> include;  // only paths that match one; empty = all
  std::vector<std::string> exclude;  // .dockerignore lines
  std::vector<std::string> follow;   // paths to include, with whatever their symlinks lead to
  bool reset_owner = false;          // everything belongs to 0:0, and the root's own metadata does not count
  bool skip_lost_found = false;      // a top-level lost+found is not there
  std::string stat_cache;            // file that remembers digests between runs; "" = none
};

struct Node;

// What only directories have.
struct DirPart {
  std::vector<Node> children;  // sorted by name; may hold directories that turn out not to be in the view
  MatchInfo include, exclude;
  bool loaded = false;
};

struct Node {
  std::string name;
  Node* parent = nullptr;
  uint32_t mode = 0, uid = 0, gid = 0;
  uint64_t nlink = 1, dev = 0, ino = 0, rdev = 0, size = 0;
  int64_t mtime = 0, ctime = 0;  // nanoseconds since the epoch
  std::string link;              // a symlink's target
  std::unique_ptr<DirPart> dir;
  bool selected = true;  // false: only there for the sake of something below
  bool exists_known = false, exists = false;
  bool digested = false;
  Digest digest{};  // see checksum.h

  bool is_dir() const { return S_ISDIR(mode); }
  bool is_symlink() const { return S_ISLNK(mode); }
  // A socket counts as an empty file, as in BuildKit.
  bool is_file() const { return S_ISREG(mode) || S_ISSOCK(mode); }
  // Whether the file behind `st` is still the one this node was made from.
  bool same_file(const struct stat& st) const;
};

class Tree {
 public:
  // Opens the root and resolves the follow paths. Throws FsError.
  explicit Tree(TreeOptions options);

  Node& root() { return root_node_; }
  const Root& dir() const { return root_; }
  const TreeOptions& options() const { return options_; }

  // The directory's children that are in the view, sorted by name.
  std::vector<Node*> children(Node& dir);
  Node* child(Node& dir, const std::string& name);

  // The node at a path, symlinks resolved inside the tree; null when there is none. Throws FsError
  // "too many links".
  Node* resolve(const std::string& path, bool follow_last);
  // Where that is, or would be.
  std::string resolved_path(const std::string& path, bool follow_last) const { return root_.resolve(path, follow_last); }

  // "a/b", without a leading slash; "" for the root.
  std::string path(const Node& node) const;

  // What an error message calls it: for a client's directory the path on this machine, else the path inside.
  std::string shown(const Node& node) const;

  // Opens a regular file for reading and makes sure it is the one the tree knows. Throws FsError, with
  // "file "x" changed during the build" when it is another one, or was changed since.
  Fd open_file(const Node& node) const;
  // Throws that error unless the open file is unchanged: called again after the last byte was read.
  void check_unchanged(const Node& node, int fd) const;

  // Held by whoever walks the tree: one at a time.
  std::mutex& mutex() { return mutex_; }

 private:
  void load(Node& dir);
  bool add_child(Node& dir, int dirfd, const std::string& name, const std::string& path);
  bool in_view(Node& node);
  [[noreturn]] void changed(const Node& node) const;

  TreeOptions options_;
  Root root_;
  std::unique_ptr<PatternMatcher> include_, exclude_;
  Node root_node_;
  std::mutex mutex_;
};

// Nanoseconds since the epoch.
inline int64_t nanoseconds(const timespec& t) { return int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec; }

}  // namespace obd::files
