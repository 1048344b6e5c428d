#include "files/go_path.h"

namespace obd::files {

std::vector<std::string> path_components(std::string_view path) {
  std::vector<std::string> out;
  size_t i = 0;
  while (i < path.size()) {
    size_t end = path.find('/', i);
    if (end == std::string_view::npos) end = path.size();
    std::string_view part = path.substr(i, end - i);
    if (!part.empty() && part != ".") out.emplace_back(part);
    i = end + 1;
  }
  return out;
}

std::string clean_path(std::string_view path) {
  if (path.empty()) return ".";
  bool rooted = path[0] == '/';
  std::vector<std::string> kept;
  for (auto& part : path_components(path)) {
    if (part != "..") {
      kept.push_back(std::move(part));
    } else if (!kept.empty() && kept.back() != "..") {
      kept.pop_back();
    } else if (!rooted) {
      kept.push_back("..");
    }
  }
  std::string out = rooted ? "/" : "";
  for (size_t i = 0; i < kept.size(); i++) {
    if (i > 0) out += '/';
    out += kept[i];
  }
  return out.empty() ? "." : out;
}

std::string join_path(std::string_view a, std::string_view b) {
  if (a.empty()) return b.empty() ? "" : clean_path(b);
  if (b.empty()) return clean_path(a);
  std::string both(a);
  both += '/';
  both += b;
  return clean_path(both);
}

std::string base_name(std::string_view path) {
  if (path.empty()) return ".";
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  if (path.empty()) return "/";
  size_t slash = path.rfind('/');
  return std::string(slash == std::string_view::npos ? path : path.substr(slash + 1));
}

std::pair<std::string, std::string> split_path(std::string_view path) {
  size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", std::string(path)};
  return {std::string(path.substr(0, slash + 1)), std::string(path.substr(slash + 1))};
}

std::string dir_name(std::string_view path) { return clean_path(split_path(path).first); }

bool contains_wildcards(std::string_view name) {
  for (size_t i = 0; i < name.size(); i++) {
    char c = name[i];
    if (c == '\\') {
      i++;
    } else if (c == '*' || c == '?' || c == '[') {
      return true;
    }
  }
  return false;
}

std::pair<std::string, std::string> split_wildcards(std::string_view path) {
  std::string cleaned = clean_path(path);
  std::string before = cleaned[0] == '/' ? "/" : "";
  std::string after;
  bool found = false;
  for (const auto& part : path_components(cleaned)) {
    found = found || contains_wildcards(part);
    std::string& side = found ? after : before;
    side = join_path(side, part);
  }
  return {before, after};
}

}  // namespace obd::files
