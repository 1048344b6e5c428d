// Paths, wildcards, .dockerignore patterns and symbolic modes: tables of what Go's and BuildKit's own
// functions answer.
#include <doctest/doctest.h>

#include <sys/stat.h>

#include "files/glob.h"
#include "files/go_path.h"
#include "files/mode_change.h"
#include "files/patterns.h"
#include "files_support.h"

using namespace obd::files;
using files_test::failure;

TEST_CASE("paths follow path/filepath") {
  CHECK(clean_path("") == ".");
  CHECK(clean_path("/a/../../b//c/.") == "/b/c");
  CHECK(clean_path("../a/..") == "..");
  CHECK(clean_path("a/../..") == "..");
  CHECK(join_path("", "") == "");
  CHECK(join_path("/a", "../b") == "/b");
  CHECK(join_path("a", "") == "a");
  CHECK(base_name("/a/b/") == "b");
  CHECK(base_name("/") == "/");
  CHECK(base_name("") == ".");
  CHECK(dir_name("/a/b/") == "/a/b");
  CHECK(dir_name("a") == ".");
  CHECK(split_path("/a/b/") == std::pair<std::string, std::string>("/a/b/", ""));
  CHECK(split_wildcards("/a/b*/c") == std::pair<std::string, std::string>("/a", "b*/c"));
  CHECK(split_wildcards("/a\\*/c") == std::pair<std::string, std::string>("/a\\*/c", ""));
  CHECK(split_wildcards("/*") == std::pair<std::string, std::string>("/", "*"));
}

TEST_CASE("globs follow filepath.Match") {
  struct Case {
    const char* pattern;
    const char* name;
    bool matches;
  };
  for (const auto& c : std::initializer_list<Case>{
           {"*", "a", true}, {"*", "a/b", false}, {"a*b", "axxb", true}, {"?", "/", false}, {"?", "é", true},
           {"[a-c]x", "bx", true}, {"[^a-c]x", "bx", false}, {"[[]x", "[x", true}, {"a\\*", "a*", true},
           {"a\\*", "ab", false}, {"*.go", ".go", true}, {"a?b", "a/b", false}, {"**", "ab", true},
           {"a*/b", "abc/b", true}, {"x*y*z*w", "xaybzcw", true}, {"x*y*z*w", "xaybzc", false}}) {
    CAPTURE(c.pattern);
    CAPTURE(c.name);
    CHECK(Glob(c.pattern).matches(c.name) == c.matches);
  }
  for (const char* bad : {"[", "a[", "[a", "[]a]", "[-]", "a\\", "[a-", "[\\"}) {
    CAPTURE(bad);
    CHECK(failure([&] { Glob glob(bad); }) == "syntax error in pattern");
  }
}

TEST_CASE("a pattern of many stars ends soon") {
  const std::string stars = "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b";
  CHECK_FALSE(Glob(stars).matches(std::string(200, 'a')));
  CHECK_FALSE(Glob("**/a/**/a/**/a/**/a/**/a/**/a/**/a/**/b", true).matches(std::string("a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a")));
}

TEST_CASE("ignore patterns follow moby/patternmatcher") {
  struct Case {
    std::vector<std::string> patterns;
    const char* path;
    bool matches;
  };
  for (const auto& c : std::initializer_list<Case>{
           {{"**"}, "a", true}, {{"**"}, "a/b", true}, {{"a/**"}, "a", false}, {{"a/**"}, "a/b", true},
           {{"**/b"}, "b", true}, {{"**/b"}, "x/y/b", true}, {{"**/b"}, "x/yb", false}, {{"**b"}, "x/yb", true},
           {{"a/**/b"}, "a/b", true}, {{"a/**/b"}, "a/x/y/b", true}, {{"*.md"}, "x/a.md", false},
           {{"a"}, "a/b/c", true}, {{"a", "!a/b"}, "a/b/c", false}, {{"a", "!a/b", "a/b/c"}, "a/b/c", true},
           {{"!a", "a"}, "a", true}, {{" a "}, "a", true}, {{""}, "a", false}, {{"a/"}, "a", true},
           {{"./a"}, "a", true}, {{"a.b"}, "axb", false}, {{"a+(b)|{c}$"}, "a+(b)|{c}$", true},
           {{"*", "!**/keep"}, "x/y/keep", false}, {{"*/x"}, "a/x/deep", true}, {{"[ab]"}, "b/c", true}}) {
    CAPTURE(c.path);
    CAPTURE(c.patterns[0]);
    PatternMatcher matcher(c.patterns);
    MatchInfo parent, own;
    CHECK(matcher.matches(c.path, {}, own) == c.matches);
    // The same going down with the parents' results, as a walk does.
    const std::string path = c.path;
    bool matched = false;
    for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
      matched = matcher.matches(path.substr(0, slash), parent, own);
      parent = own;
      if (slash == std::string::npos) break;
    }
    CHECK(matched == c.matches);
  }
  CHECK(failure([] { PatternMatcher m({"!"}); }) == "illegal exclusion pattern: \"!\"");
  CHECK(failure([] { PatternMatcher m({"a["}); }) == "syntax error in pattern");
}

TEST_CASE("directories that cannot hold a match are pruned") {
  PatternMatcher excludes({"node_modules", "a", "!a/keep/this"});
  CHECK_FALSE(excludes.exception_may_match_below("node_modules"));
  CHECK(excludes.exception_may_match_below("a"));
  CHECK(excludes.exception_may_match_below("a/keep"));
  CHECK_FALSE(excludes.exception_may_match_below("a/other"));
  PatternMatcher open_excludes({"a", "!**/x"});
  CHECK(open_excludes.exception_may_match_below("a/b"));
  PatternMatcher includes({"src/lib", "doc/*"});
  CHECK(includes.include_may_match_below("src"));
  CHECK(includes.include_may_match_below("doc"));
  CHECK_FALSE(includes.include_may_match_below("test"));
}

TEST_CASE("symbolic modes follow setmode(3)") {
  struct Case {
    const char* text;
    uint32_t before, after;
  };
  const uint32_t dir = S_IFDIR;
  for (const auto& c : std::initializer_list<Case>{
           {"u+rwX,go=rX", 0600, 0644}, {"u+rwX,go=rX", dir | 0700, 0755}, {"a=rX", 0111, 0555}, {"+x", 0644, 0755},
           {"u=rwx,go=u-w", 0, 0755}, {"go=", 0777, 0700}, {"u+s,g+s,+t", 0755, 07755}, {"o+s", 0755, 0755},
           {"0644", 04755, 0644}, {"u=g", 0070, 0770}, {"a-X", 0777, 0666}, {"g=o,o=", 0607, 0670}, {"=rw,+X", 0755, 0777}}) {
    CAPTURE(c.text);
    CHECK(ModeChange(c.text).apply(c.before) == c.after);
  }
  for (const char* bad : {"", "u", "x+r", "u+r,", "9", "0899", "77777", ",+r", "u+q"}) {
    CAPTURE(bad);
    CHECK(failure([&] { ModeChange change(bad); }) == "invalid syntax");
  }
}
