#include "files/mode_change.h"

#include <sys/stat.h>

#include "files/fs_error.h"

namespace obd::files {

namespace {

constexpr uint32_t kSetId = 06000, kSticky = 01000, kRead = 0444, kWrite = 0222, kExec = 0111, kOther = 07;
constexpr uint32_t kStandard = 06777;

[[noreturn]] void bad_syntax() { throw FsError("invalid syntax", EINVAL); }

}  // namespace

ModeChange::ModeChange(const std::string& text) {
  if (text.empty()) bad_syntax();
  if (text[0] >= '0' && text[0] <= '9') {
    uint32_t value = 0;
    for (char c : text) {
      if (c < '0' || c > '7' || value > 0777) bad_syntax();
      value = value * 8 + static_cast<uint32_t>(c - '0');
    }
    steps_.push_back({'-', kStandard | kSticky, 0, 0});
    steps_.push_back({'+', value, 0, 0});
    return;
  }
  size_t at = 0;
  while (true) {
    at = clause(text, at);
    if (at == text.size()) return;
    at++;  // the comma
  }
}

void ModeChange::add(char op, uint32_t who, uint32_t perm) {
  if (op == '=') {
    steps_.push_back({'-', who ? who : kStandard, 0, 0});
    op = '+';
  }
  steps_.push_back({op, who ? who & perm : perm, 0, 0});
}

// One comma-separated part: who, then any number of operators with their permissions. Returns where it ends.
size_t ModeChange::clause(const std::string& text, size_t at) {
  uint32_t who = 0;
  for (;; at++) {
    if (at == text.size()) bad_syntax();
    if (text[at] == 'a') who |= kStandard;
    else if (text[at] == 'u') who |= 04700;
    else if (text[at] == 'g') who |= 02070;
    else if (text[at] == 'o') who |= kOther;
    else break;
  }
  while (true) {
    if (at == text.size()) bad_syntax();
    const char op = text[at++];
    if (op != '+' && op != '-' && op != '=') bad_syntax();
    who &= ~kSticky;
    const bool only_other = who != 0 && (who & ~kOther) == 0;
    bool assigned = false;
    uint32_t perm = 0, exec_if_any = 0;
    auto flush = [&]() {
      if (perm != 0) add(op, who, perm);
      assigned = assigned || (perm != 0 && op == '=');
      if (exec_if_any != 0) add('X', who, exec_if_any);
      perm = exec_if_any = 0;
    };
    for (; at < text.size(); at++) {
      const char c = text[at];
      if (c == 'r') perm |= kRead;
      else if (c == 'w') perm |= kWrite;
      else if (c == 'x' || (c == 'X' && op == '-')) perm |= kExec;
      else if (c == 'X') exec_if_any = kExec;
      else if (c == 's') perm |= only_other ? 0 : kSetId;
      else if (c == 't' && !only_other) {
        who |= kSticky;  // from here on only this bit counts when no class was named: setmode(3)'s own quirk
        perm |= kSticky;
      } else if (c == 'u' || c == 'g' || c == 'o') {
        flush();
        assigned = assigned || op == '=';
        steps_.push_back({c, 0, who ? who : kStandard, op});
      } else if (c != 't') {
        break;
      }
    }
    if (op == '=' && !assigned && perm == 0) add('=', who, 0);
    flush();
    if (at == text.size() || text[at] == ',') return at;
  }
}

uint32_t ModeChange::apply(uint32_t mode) const {
  const uint32_t before = mode & 07777;
  uint32_t now = before;
  for (const Step& step : steps_) {
    switch (step.op) {
      case '+':
        now |= step.bits;
        break;
      case '-':
        now &= ~step.bits;
        break;
      case 'X':
        if ((before & kExec) != 0 || S_ISDIR(mode)) now |= step.bits;
        break;
      default: {
        const uint32_t value = now >> (step.op == 'u' ? 6 : step.op == 'g' ? 3 : 0) & 07;
        for (uint32_t shift : {6u, 3u, 0u}) {
          if ((step.who & (04u << shift)) == 0) continue;
          if (step.copy_op != '+') now &= ~((step.copy_op == '=' ? 07u : value) << shift);
          if (step.copy_op != '-') now |= value << shift;
        }
      }
    }
  }
  return now;
}

}  // namespace obd::files
