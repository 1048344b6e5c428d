#include "files/checksum.h"

#include <algorithm>
#include <memory>
#include <unordered_set>

#include "files/fs_error.h"
#include "files/glob.h"
#include "files/go_path.h"
#include "files/node_digest.h"

namespace obd::files {

namespace {

// A path of a filtered selection: as the selection names it, and the node behind it.
struct Picked {
  std::string path;
  Node* node;
  bool follow;  // a symlink here is followed
};

// What a selection turned out to be: one whole path, or a list of single entries.
struct Found {
  Node* whole = nullptr;
  std::string prefix;
  std::vector<Picked> list;
};

bool starts_with(const std::string& s, const std::string& head) { return s.compare(0, head.size(), head) == 0; }

[[noreturn]] void not_found(const std::string& path) { throw FsError("\"" + path + "\": not found", ENOENT); }

std::string key_path(const std::string& path) {
  std::string out = clean_path("/" + path);
  return out == "/" ? "" : out;
}

// Collects the entries a selection with wildcards or patterns picks, in the order of a walk.
class Picker {
 public:
  Picker(Tree& tree, const Selection& selection, Task& task) : tree_(tree), selection_(selection), task_(task) {
    path_ = key_path(selection.path);
    skip_base_header_ = path_.empty() && !selection.path.empty() && selection.path.back() == '/';
    include_ = pattern_matcher("includepatterns", selection.include);
    exclude_ = pattern_matcher("excludepatterns", selection.exclude);
  }

  Found run() {
    if (selection_.wildcard && !path_.empty()) {
      pick_wildcard();
    } else {
      found_.prefix = path_;
      if (Node* base = tree_.resolve(path_, false)) visit(*base, path_, path_, nullptr);
    }
    for (const auto& required : selection_.required) {
      bool there = std::any_of(found_.list.begin(), found_.list.end(),
                               [&](const Picked& p) { return starts_with(p.path, required); });
      if (!there) not_found(required);
    }
    return std::move(found_);
  }

 private:
  // A directory on the way down: listed once something below it is.
  struct Dir {
    const Dir* parent;
    Picked self;
    MatchInfo include, exclude;
    mutable bool listed = false;
  };

  void pick_wildcard() {
    auto [before, after] = split_wildcards(path_);
    Node* base = tree_.resolve(before, !after.empty());
    found_.prefix = before == "/" ? "" : before;
    if (!base) return;
    if (after.empty()) return visit(*base, found_.prefix, path_, nullptr);
    Glob glob(path_);
    match_below(*base, found_.prefix, glob, path_components(path_).size());
  }

  void match_below(Node& dir, const std::string& path, const Glob& glob, size_t depth) {
    if (!dir.is_dir() || path_components(path).size() >= depth) return;
    for (Node* node : tree_.children(dir)) {
      const std::string name = path + "/" + node->name;
      if (glob.matches(name)) {
        visit(*node, name, name, nullptr);
      } else {
        match_below(*node, name, glob, depth);
      }
    }
  }

  // Goes through a node and all below it. `base` is what the patterns are relative to.
  void visit(Node& node, const std::string& path, const std::string& base, const Dir* parent) {
    task_.check();
    const std::string candidate = path.size() > base.size() ? path.substr(base.size() + 1) : "";
    static const MatchInfo unknown;
    // Without a directory listed above it, as right below the root; so in BuildKit.
    Dir own{parent, {path, &node, parent == nullptr && selection_.follow_links}, {}, {}};
    bool wanted = true;
    if (include_) wanted = include_->matches(candidate, parent ? parent->include : unknown, own.include);
    if (exclude_ && exclude_->matches(candidate, parent ? parent->exclude : unknown, own.exclude)) wanted = false;
    const bool hidden = skip_base_header_ && path == path_;
    own.listed = hidden;
    if (wanted && !hidden) list(own);
    if (!node.is_dir()) return;
    for (Node* child : tree_.children(node)) visit(*child, path + "/" + child->name, base, hidden ? nullptr : &own);
  }

  void list(const Dir& entry) {
    if (entry.listed) return;
    if (entry.parent) list(*entry.parent);
    entry.listed = true;
    found_.list.push_back(entry.self);
  }

  Tree& tree_;
  const Selection& selection_;
  Task& task_;
  std::string path_;
  bool skip_base_header_;
  std::unique_ptr<PatternMatcher> include_, exclude_;
  Found found_;
};

Found find(Tree& tree, const Selection& selection, Task& task) {
  if (selection.wildcard || !selection.include.empty() || !selection.exclude.empty()) {
    return Picker(tree, selection, task).run();
  }
  Found found;
  found.whole = tree.resolve(selection.path, selection.follow_links);
  if (!found.whole) not_found(clean_path("/" + selection.path));
  return found;
}

// The node itself and everything below it.
void gather(Tree& tree, Node& node, std::vector<Node*>& out, Task& task) {
  task.check();
  out.push_back(&node);
  if (!node.is_dir()) return;
  for (Node* child : tree.children(node)) gather(tree, *child, out, task);
}

Digest whole_digest(Tree& tree, Node& node) {
  if (!node.is_dir()) return node_digest(node);
  Sha256 hash;
  const Digest own = node_digest(node);
  hash.update(own.data(), own.size());
  for (Node* child : tree.children(node)) {
    const Digest below = whole_digest(tree, *child);
    hash.field(child->name);
    hash.update(below.data(), below.size());
  }
  return hash.finish();
}

Digest list_digest(Tree& tree, const Selection& selection, const Found& found) {
  auto entry_digest = [&](const Picked& picked) {
    if (!picked.follow || !picked.node->is_symlink()) return node_digest(*picked.node);
    return whole_digest(tree, *tree.resolve(picked.path, true));
  };
  if (found.list.size() == 1 && base_name(selection.path) == base_name(found.list[0].path)) {
    return entry_digest(found.list[0]);
  }
  Sha256 hash;
  for (const auto& picked : found.list) {
    const Digest own = entry_digest(picked);
    hash.field(picked.path.substr(std::min(found.prefix.size(), picked.path.size())));
    hash.update(own.data(), own.size());
  }
  return hash.finish();
}

}  // namespace

std::vector<std::string> checksum(Tree& tree, const std::vector<Selection>& selections, Task& task) {
  std::lock_guard<std::mutex> lock(tree.mutex());
  std::vector<Found> found;
  std::vector<Node*> nodes;
  for (const auto& selection : selections) {
    found.push_back(find(tree, selection, task));
    if (found.back().whole) gather(tree, *found.back().whole, nodes, task);
    for (const auto& picked : found.back().list) {
      nodes.push_back(picked.node);
      if (!picked.follow || !picked.node->is_symlink()) continue;
      Node* target = tree.resolve(picked.path, true);
      if (!target) not_found(picked.path);
      gather(tree, *target, nodes, task);
    }
  }
  std::unordered_set<Node*> seen;
  nodes.erase(std::remove_if(nodes.begin(), nodes.end(), [&](Node* n) { return !seen.insert(n).second; }), nodes.end());
  digest_nodes(tree, nodes, task);

  std::vector<std::string> out;
  for (size_t i = 0; i < selections.size(); i++) {
    out.push_back(digest_string(found[i].whole ? whole_digest(tree, *found[i].whole)
                                               : list_digest(tree, selections[i], found[i])));
  }
  return out;
}

void require_paths(Tree& tree, const Selection& selection, Task& task) { Picker(tree, selection, task).run(); }

}  // namespace obd::files
