#include "files/file_actions.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "files/checksum.h"
#include "files/fs_error.h"
#include "files/glob.h"
#include "files/go_path.h"
#include "files/tar_pipeline.h"

namespace obd::files {

namespace {

void own_and_date(const Place& place, const std::optional<Owner>& owner, const std::optional<int64_t>& time,
                  const std::string& shown) {
  if (owner) set_owner(place.dir.get(), place.name, *owner, shown);
  if (time) set_times(place.dir.get(), place.name, *time, shown);
}

void run(const Root& root, const MkdirAction& action, const std::shared_ptr<Task>&) {
  const std::string path = root.resolve(action.path);
  if (action.make_parents) {
    make_dirs(root, path, action.mode, action.owner, action.timestamp);
    return;
  }
  Place place = open_place(root, path, "mkdir");
  if (::mkdirat(place.dir.get(), place.name.c_str(), action.mode & 0777) != 0) {
    if (errno == EEXIST) return;
    throw_path("mkdir", path);
  }
  // Once more, for the umask took its part.
  if (::fchmodat(place.dir.get(), place.name.c_str(), action.mode & 0777, 0) != 0) throw_path("chmod", path);
  own_and_date(place, action.owner, action.timestamp, path);
}

void run(const Root& root, const MkfileAction& action, const std::shared_ptr<Task>& task) {
  const std::string path = root.resolve(action.path);
  Place place = open_place(root, path, "open");
  const int flags = O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
  Fd fd(::openat(place.dir.get(), place.name.c_str(), flags | O_CREAT | O_EXCL, 0600));
  const bool fresh = static_cast<bool>(fd);
  if (!fresh && errno == EEXIST) fd = Fd(::openat(place.dir.get(), place.name.c_str(), flags | O_TRUNC));
  if (!fd) throw_path("open", path);
  if (fresh && ::fchmod(fd.get(), action.mode & 0777) != 0) throw_path("chmod", path);
  for (size_t done = 0; done < action.data.size();) {
    ssize_t n = ::write(fd.get(), action.data.data() + done, action.data.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_path("write", path);
    done += static_cast<size_t>(n);
  }
  own_and_date(place, action.owner, action.timestamp, path);
  task->bytes += action.data.size();
  task->files++;
}

void run(const Root& root, const SymlinkAction& action, const std::shared_ptr<Task>&) {
  const std::string path = root.resolve(action.new_path);
  Place place = open_place(root, path, "symlink " + action.old_path);
  if (::symlinkat(action.old_path.c_str(), place.dir.get(), place.name.c_str()) != 0) {
    throw_path("symlink " + action.old_path, path);
  }
  own_and_date(place, action.owner, action.timestamp, path);
}

// The paths a wildcard names: `base` and what its directory's entries lead to, not below a match.
void match_below(Tree& tree, Node& dir, const Glob& glob, const std::string& relative, size_t depth,
                 std::vector<std::string>& out) {
  if (!dir.is_dir()) return;
  for (Node* node : tree.children(dir)) {
    const std::string name = relative.empty() ? node->name : relative + "/" + node->name;
    if (glob.matches(name)) {
      out.push_back("/" + tree.path(*node));
    } else if (depth > 1) {
      match_below(tree, *node, glob, name, depth - 1, out);
    }
  }
}

// The paths `path` stands for: itself, when it has no wildcards. Throws FsError when the part before the
// wildcards does not exist.
std::vector<std::string> resolve_wildcards(Tree& tree, const std::string& path, bool follow) {
  auto [before, after] = split_wildcards(path);
  if (after.empty()) return {before};
  Node* base = tree.resolve(before, follow);
  if (!base) throw_path("lstat", before, ENOENT);
  std::vector<std::string> out;
  std::unique_ptr<Glob> glob;
  try {
    glob = std::make_unique<Glob>(after);
  } catch (const FsError&) {
    return out;  // as BuildKit: a malformed pattern matches nothing
  }
  match_below(tree, *base, *glob, "", path_components(after).size(), out);
  return out;
}

void remove_path(const Root& root, const std::string& path, bool allow_not_found) {
  const std::string cleaned = clean_path("/" + path);
  if (cleaned == "/") throw FsError("rmPath: invalid empty path", EINVAL);
  const std::string resolved = root.resolve(cleaned, false);
  if (!allow_not_found && !root.try_open_resolved(resolved, O_PATH | O_NOFOLLOW)) throw_path("stat", resolved);
  Fd dir = root.try_open_resolved(dir_name(resolved), O_RDONLY | O_DIRECTORY);
  if (!dir) {
    if (errno == ENOENT) return;
    throw_path("unlinkat", resolved);
  }
  remove_all(dir.get(), base_name(resolved), resolved);
}

// Go's cleanPath of backend.go: cleaned, but a trailing "/" or "/." stays, for both mean something.
std::string clean_keep_tail(const std::string& path) {
  auto ends_with = [&](const std::string& tail) {
    return path.size() >= tail.size() && path.compare(path.size() - tail.size(), tail.size(), tail) == 0;
  };
  std::string out = clean_path("/" + path);
  if (ends_with("/.")) return out == "/" ? "/." : out + "/.";
  return ends_with("/") && out != "/" ? out + "/" : out;
}

void run(const Root& root, const RmAction& action, const std::shared_ptr<Task>&) {
  if (!action.allow_wildcard) return remove_path(root, action.path, action.allow_not_found);
  TreeOptions options;
  options.root = root.path();
  Tree tree(options);
  for (const auto& path : resolve_wildcards(tree, clean_keep_tail(action.path), false)) {
    remove_path(root, path, action.allow_not_found);
  }
}

// ADD: unpacks the source into `dest` when it is an archive; false when it is not.
bool unpack(const Root& root, Tree& tree, const std::string& source, const std::string& dest,
            const CopyOptions& options, const std::shared_ptr<Task>& task) {
  Node* node = tree.resolve(source, true);
  if (!node || !S_ISREG(node->mode) || !is_archive(tree.open_file(*node).get())) return false;
  const std::string target = root.resolve(dest);
  make_dirs(root, target, 0755, options.owner, options.timestamp);
  Fd dir = root.open_resolved(target, O_RDONLY | O_DIRECTORY);
  Fd file = tree.open_file(*node);
  unpack_file(file.get(), source, "/proc/self/fd/" + std::to_string(dir.get()), {UnpackMode::archive, options.owner}, task);
  tree.check_unchanged(*node, file.get());
  return true;
}

void run(const Root& root, const CopyAction& action, const std::shared_ptr<Task>& task, CopyNotes* notes = nullptr) {
  Tree& tree = *action.source;
  std::lock_guard<std::mutex> lock(tree.mutex());
  const std::string source = clean_keep_tail(action.path), dest = clean_keep_tail(action.dest);
  CopyOptions options = action.options;
  if (!action.create_dest_path) {
    const std::string parent = dir_name(root.resolve(action.dest));
    if (!root.try_open_resolved(parent, O_PATH)) throw_path("failed to stat " + action.dest + ": lstat", parent);
  }
  std::vector<std::string> sources{source};
  if (action.allow_wildcard) {
    sources = resolve_wildcards(tree, source, options.follow_links);
    if (sources.empty() && !action.allow_empty_wildcard) throw FsError(source + " not found", ENOENT);
  }
  if (!action.required.empty()) {
    require_paths(tree, {action.path, false, options.follow_links, options.include, options.exclude, action.required}, *task);
  }
  if (!action.mode_change.empty()) options.change.emplace(action.mode_change);
  ContentPool pool(*task);
  Copier copier(tree, root, options, pool, *task, notes);
  for (const auto& path : sources) {
    if (!action.unpack || !unpack(root, tree, path, dest, options, task)) copier.copy(path, dest);
  }
  pool.finish();
}

}  // namespace

void run_file_actions(const std::string& target_root, const std::vector<FileAction>& actions, const std::shared_ptr<Task>& task) {
  const Root root(target_root);
  for (const auto& action : actions) {
    task->check();
    std::visit([&](const auto& a) { run(root, a, task); }, action);
  }
}

std::optional<CopyNotes::Saved> run_noted_copies(const std::string& target_root, const std::vector<CopyAction>& actions,
                                                 const std::string& former, const std::string& notes,
                                                 const std::shared_ptr<Task>& task) {
  const Root root(target_root);
  CopyNotes noted = former.empty() ? CopyNotes() : CopyNotes(former);
  for (const auto& action : actions) {
    task->check();
    run(root, action, task, &noted);
  }
  if (!noted.settle(root)) return std::nullopt;
  return noted.sound() ? noted.save(notes) : CopyNotes::Saved{};
}

}  // namespace obd::files
