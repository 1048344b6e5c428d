#include "files/follow_links.h"

#include <fcntl.h>

#include <optional>
#include <set>

#include "files/fs_error.h"
#include "files/glob.h"
#include "files/go_path.h"

namespace obd::files {

namespace {

class Resolver {
 public:
  explicit Resolver(const Root& root) : root_(root) {}

  void add(const std::string& path) {
    std::string rest = join_path(".", path);
    std::string current = ".";
    while (true) {
      size_t slash = rest.find('/');
      current = join_path(current, rest.substr(0, slash));
      rest = slash == std::string::npos ? "" : rest.substr(slash + 1);
      auto targets = link_targets(current, true);
      bool last = rest.empty();
      if (!last && targets.empty()) continue;
      if (!found_.insert(current).second) return;
      for (const auto& target : targets) add(join_path(target, rest));
      return;
    }
  }

  const std::set<std::string>& found() const { return found_; }

 private:
  // Where the symlinks that `path` names lead; a wildcard in its last component names several.
  std::vector<std::string> link_targets(const std::string& path, bool wildcards) {
    const std::string dir = dir_name(path), base = base_name(path);
    std::vector<std::string> out;
    if (wildcards && contains_wildcards(base)) {
      Fd fd = root_.try_open(dir, O_RDONLY | O_DIRECTORY);
      if (!fd && (errno == ENOENT || errno == ENOTDIR)) return out;
      if (!fd) throw_path("open", dir);
      std::optional<Glob> glob;
      try {
        glob.emplace(base);
      } catch (const FsError&) {
        return out;  // matches nothing here; who uses it as a pattern complains
      }
      for (const auto& name : list_names(std::move(fd), dir)) {
        if (!glob->matches(name)) continue;
        for (auto& target : link_targets(join_path(dir, name), false)) out.push_back(std::move(target));
      }
      return out;
    }
    if (path == "." || path == "/") return out;
    Fd entry = root_.try_open(path, O_PATH | O_NOFOLLOW);
    struct stat st;
    if (!entry && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) return out;
    if (!entry || ::fstat(entry.get(), &st) != 0) throw_path("lstat", path);
    if (!S_ISLNK(st.st_mode)) return out;
    std::string target = clean_path(read_link(entry.get(), "", path));
    out.push_back(target[0] == '/' ? target : join_path("/", join_path(dir, target)));
    return out;
  }

  const Root& root_;
  std::set<std::string> found_;
};

}  // namespace

std::vector<std::string> drop_nested(const std::vector<std::string>& paths) {
  std::vector<std::string> out;
  for (const auto& path : paths) {
    if (path == ".") return {};
    if (!out.empty() && path.compare(0, out.back().size() + 1, out.back() + "/") == 0) continue;
    out.push_back(path);
  }
  return out;
}

std::vector<std::string> follow_links(const Root& root, const std::vector<std::string>& paths) {
  Resolver resolver(root);
  for (const auto& path : paths) resolver.add(path);
  return drop_nested({resolver.found().begin(), resolver.found().end()});
}

}  // namespace obd::files
