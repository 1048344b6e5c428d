#include "files/patterns.h"

#include "files/fs_error.h"
#include "files/go_path.h"

namespace obd::files {

namespace {

bool ends_with(std::string_view s, std::string_view tail) {
  return s.size() >= tail.size() && s.substr(s.size() - tail.size()) == tail;
}

bool starts_with(std::string_view s, std::string_view head) { return s.substr(0, head.size()) == head; }

std::string trim(const std::string& s) {
  const char* space = " \t\n\v\f\r";
  size_t first = s.find_first_not_of(space);
  if (first == std::string::npos) return "";
  return s.substr(first, s.find_last_not_of(space) - first + 1);
}

}  // namespace

Pattern::Pattern(std::string text, bool exception) : text_(std::move(text)), exception_(exception) {
  Glob syntax_check(text_);
  // moby decides by the position of the only wildcard; a leading `**` and a trailing `**` have rules of
  // their own: `**/x` also matches `x`, but `x/**` does not match `x`.
  bool leading = starts_with(text_, "**");
  std::string_view rest(text_);
  if (leading) rest.remove_prefix(2);
  bool trailing = !leading && ends_with(rest, "**");
  if (trailing) rest.remove_suffix(2);
  if (rest.find_first_of("*?[]\\") != std::string_view::npos) {
    kind_ = Kind::glob;
    glob_.emplace(text_, true);
  } else {
    kind_ = leading ? Kind::suffix : trailing ? Kind::prefix : Kind::exact;
  }
}

bool Pattern::matches(std::string_view path) const {
  switch (kind_) {
    case Kind::exact:
      return path == text_;
    case Kind::prefix:
      return starts_with(path, std::string_view(text_).substr(0, text_.size() - 2));
    case Kind::suffix: {
      std::string_view suffix = std::string_view(text_).substr(2);
      return ends_with(path, suffix) || (suffix[0] == '/' && path == suffix.substr(1));
    }
    case Kind::glob:
      return glob_->matches(path);
  }
  return false;
}

std::string Pattern::without_trailing_glob() const {
  std::string out = text_;
  if (ends_with(out, "/**")) out.resize(out.size() - 3);
  if (ends_with(out, "/*")) out.resize(out.size() - 2);
  return out;
}

bool Pattern::plain_prefix() const { return without_trailing_glob().find_first_of("*[]?^\\") == std::string::npos; }

PatternMatcher::PatternMatcher(const std::vector<std::string>& patterns) {
  for (const auto& raw : patterns) {
    std::string p = trim(raw);
    if (p.empty()) continue;
    p = clean_path(p);
    bool exception = p[0] == '!';
    if (exception) {
      if (p.size() == 1) throw FsError("illegal exclusion pattern: \"!\"", EINVAL);
      p.erase(0, 1);
      has_exceptions_ = true;
    }
    patterns_.emplace_back(p, exception);
    (exception ? plain_exceptions_ : plain_includes_) &= patterns_.back().plain_prefix();
  }
}

bool PatternMatcher::matches(std::string_view path, const MatchInfo& parent, MatchInfo& own) const {
  bool matched = false;
  own.assign(patterns_.size(), false);
  for (size_t i = 0; i < patterns_.size(); i++) {
    const Pattern& pattern = patterns_[i];
    bool match = !parent.empty() && parent[i];
    if (!match) {
      // A plain pattern cannot change a path that matches already, nor an exception one that does not.
      if (pattern.exception() != matched) continue;
      match = pattern.matches(path);
      for (size_t slash = path.find('/'); parent.empty() && !match && slash != std::string_view::npos;
           slash = path.find('/', slash + 1)) {
        match = pattern.matches(path.substr(0, slash));
      }
    }
    own[i] = match;
    if (match) matched = !pattern.exception();
  }
  return matched;
}

bool PatternMatcher::may_match_below(std::string_view dir, bool exceptions) const {
  std::string inside(dir);
  inside += '/';
  for (const auto& pattern : patterns_) {
    if (pattern.exception() == exceptions && starts_with(pattern.without_trailing_glob() + "/", inside)) return true;
  }
  return false;
}

bool PatternMatcher::include_may_match_below(std::string_view dir) const {
  return !plain_includes_ || may_match_below(dir, false);
}

bool PatternMatcher::exception_may_match_below(std::string_view dir) const {
  return has_exceptions_ && (!plain_exceptions_ || may_match_below(dir, true));
}

std::unique_ptr<PatternMatcher> pattern_matcher(const std::string& kind, const std::vector<std::string>& patterns) {
  if (patterns.empty()) return nullptr;
  std::string list;
  for (const auto& pattern : patterns) list += (list.empty() ? "" : " ") + pattern;
  return with_context("invalid " + kind + ": [" + list + "]", [&] { return std::make_unique<PatternMatcher>(patterns); });
}

}  // namespace obd::files
