// Wildcard matching: filepath.Match's language, and that language with `**` as .dockerignore has it.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace obd::files {

// A compiled pattern. `*` and `?` do not cross a slash, `[a-z]` and `[^a-z]` are classes, `\c` is c.
class Glob {
 public:
  // Throws FsError "syntax error in pattern" (Go's ErrBadPattern). With `double_star`, `**/` stands for any
  // number of directories and a trailing `**` for everything.
  explicit Glob(std::string_view pattern, bool double_star = false);
  bool matches(std::string_view name) const;

 private:
  enum class Kind { literal, any, set, star, dirs, all };
  struct Token {
    Kind kind;
    std::string text;                                      // literal
    bool negated = false;                                  // set
    std::vector<std::pair<uint32_t, uint32_t>> ranges = {};  // set, inclusive
  };
  struct Search;
  void add_literal(std::string_view bytes);
  size_t parse_set(std::string_view pattern, size_t at);

  std::vector<Token> tokens_;
  size_t wildcards_ = 0;
};

}  // namespace obd::files
