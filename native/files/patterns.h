// .dockerignore-style pattern lists with the semantics of moby/patternmatcher: later patterns win, `!` makes
// an exception, a match of a directory holds for everything below it.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "files/glob.h"

namespace obd::files {

// Which patterns matched a directory; handed to the matches of its children so that parents are not
// matched again. Empty means "not known".
using MatchInfo = std::vector<bool>;

class Pattern {
 public:
  Pattern(std::string text, bool exception);
  bool matches(std::string_view path) const;
  bool exception() const { return exception_; }
  const std::string& text() const { return text_; }
  // The pattern's text without a trailing `/**` or `/*`.
  std::string without_trailing_glob() const;
  // Whether that text is a plain path prefix, so that it can be compared with directories.
  bool plain_prefix() const;

 private:
  enum class Kind { exact, prefix, suffix, glob };
  std::string text_;
  bool exception_;
  Kind kind_;
  std::optional<Glob> glob_;
};

class PatternMatcher {
 public:
  // Throws FsError on a malformed pattern or a lone `!`.
  explicit PatternMatcher(const std::vector<std::string>& patterns);

  // Whether the path (no leading slash) matches. `parent` is what the call for its directory left in
  // `own`, or empty at the top.
  bool matches(std::string_view path, const MatchInfo& parent, MatchInfo& own) const;
  bool has_exceptions() const { return has_exceptions_; }
  const std::vector<Pattern>& patterns() const { return patterns_; }

  // For a list of wanted paths: whether something below the unmatched directory may still match.
  bool include_may_match_below(std::string_view dir) const;
  // For a list of unwanted paths: whether an exception may bring something below the matched directory back.
  bool exception_may_match_below(std::string_view dir) const;

 private:
  bool may_match_below(std::string_view dir, bool exceptions) const;
  std::vector<Pattern> patterns_;
  bool has_exceptions_ = false;
  bool plain_includes_ = true;
  bool plain_exceptions_ = true;
};

// Null without patterns. Errors start with BuildKit's `invalid KIND: [a b]: `, `kind` being "includepatterns" or
// "excludepatterns".
std::unique_ptr<PatternMatcher> pattern_matcher(const std::string& kind, const std::vector<std::string>& patterns);

}  // namespace obd::files
