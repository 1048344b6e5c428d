#include "files/glob.h"

#include "files/fs_error.h"

namespace obd::files {

namespace {

[[noreturn]] void bad_pattern() { throw FsError("syntax error in pattern", EINVAL); }

// The rune at `at` and its width; a byte that is not UTF-8 counts as U+FFFD of width 1, as in Go.
uint32_t decode_rune(std::string_view s, size_t at, size_t& width) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  unsigned char c = byte(at);
  width = 1;
  if (c < 0x80) return c;
  size_t need = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
  if (c < 0xc2 || c > 0xf4 || at + need >= s.size()) return 0xfffd;
  uint32_t rune = c & (0x3f >> need);
  for (size_t i = 1; i <= need; i++) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0xfffd;
    rune = rune << 6 | (byte(at + i) & 0x3f);
  }
  width = need + 1;
  return rune;
}

}  // namespace

void Glob::add_literal(std::string_view bytes) {
  if (tokens_.empty() || tokens_.back().kind != Kind::literal) tokens_.push_back({Kind::literal, ""});
  tokens_.back().text += bytes;
}

// `at` is just behind the `[`; returns the position behind the `]`.
size_t Glob::parse_set(std::string_view pattern, size_t at) {
  Token token{Kind::set, ""};
  auto bound = [&]() {
    if (at >= pattern.size() || pattern[at] == '-' || pattern[at] == ']') bad_pattern();
    if (pattern[at] == '\\' && ++at >= pattern.size()) bad_pattern();
    size_t width;
    uint32_t rune = decode_rune(pattern, at, width);
    if (rune == 0xfffd && width == 1) bad_pattern();
    at += width;
    if (at >= pattern.size()) bad_pattern();
    return rune;
  };
  if (at < pattern.size() && pattern[at] == '^') {
    token.negated = true;
    at++;
  }
  while (true) {
    if (at < pattern.size() && pattern[at] == ']' && !token.ranges.empty()) break;
    uint32_t low = bound(), high = low;
    if (pattern[at] == '-') {
      at++;
      high = bound();
    }
    token.ranges.emplace_back(low, high);
  }
  tokens_.push_back(std::move(token));
  return at + 1;
}

Glob::Glob(std::string_view pattern, bool double_star) {
  size_t i = 0;
  while (i < pattern.size()) {
    char c = pattern[i];
    if (c == '*') {
      bool doubled = double_star && i + 1 < pattern.size() && pattern[i + 1] == '*';
      wildcards_++;
      i += doubled ? 2 : 1;
      if (!doubled) {
        tokens_.push_back({Kind::star, ""});
        continue;
      }
      if (i < pattern.size() && pattern[i] == '/') i++;
      tokens_.push_back({i == pattern.size() ? Kind::all : Kind::dirs, ""});
    } else if (c == '?') {
      tokens_.push_back({Kind::any, ""});
      i++;
    } else if (c == '[') {
      i = parse_set(pattern, i + 1);
    } else {
      if (c == '\\' && ++i >= pattern.size()) bad_pattern();
      add_literal(pattern.substr(i, 1));
      i++;
    }
  }
}

// A depth-first search over the places a wildcard may end; what failed once is not tried again.
struct Glob::Search {
  const std::vector<Token>& tokens;
  std::string_view name;
  std::vector<bool> failed;  // tokens x positions; empty when few wildcards make it pointless

  bool from(size_t t, size_t at) {
    for (; t < tokens.size(); t++) {
      const Token& token = tokens[t];
      switch (token.kind) {
        case Kind::literal:
          if (name.compare(at, token.text.size(), token.text) != 0) return false;
          at += token.text.size();
          break;
        case Kind::any:
        case Kind::set: {
          if (at >= name.size()) return false;
          size_t width;
          uint32_t rune = decode_rune(name, at, width);
          if (token.kind == Kind::any ? rune == '/' : !in_set(token, rune)) return false;
          at += width;
          break;
        }
        default:
          return wildcard(t, at);
      }
    }
    return at == name.size();
  }

  static bool in_set(const Token& token, uint32_t rune) {
    bool inside = false;
    for (const auto& [low, high] : token.ranges) inside = inside || (low <= rune && rune <= high);
    return inside != token.negated;
  }

  bool wildcard(size_t t, size_t at) {
    size_t state = t * (name.size() + 1) + at;
    if (!failed.empty() && failed[state]) return false;
    bool found = false;
    switch (tokens[t].kind) {
      case Kind::star:
        for (size_t p = at; !found; p++) {
          found = from(t + 1, p);
          if (p >= name.size() || name[p] == '/') break;
        }
        break;
      case Kind::dirs:
        found = from(t + 1, at);
        for (size_t p = at; p < name.size() && !found; p++) {
          if (name[p] == '/') found = from(t + 1, p + 1);
        }
        break;
      default:  // all: only ever the last token
        found = true;
    }
    if (!found && !failed.empty()) failed[state] = true;
    return found;
  }
};

bool Glob::matches(std::string_view name) const {
  Search search{tokens_, name, {}};
  if (wildcards_ > 2) search.failed.resize(tokens_.size() * (name.size() + 1));
  return search.from(0, 0);
}

}  // namespace obd::files
