// Symbolic file modes ("u+rwX,go=rX") as BSD's setmode(3) understands them, which is what COPY --chmod takes.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

namespace obd::files {

class ModeChange {
 public:
  // Octal or symbolic; the umask does not count. Throws FsError "invalid syntax".
  explicit ModeChange(const std::string& text);
  // The permission bits (07777) after the change; `mode` with its file type.
  uint32_t apply(uint32_t mode) const;

 private:
  struct Step {
    char op;         // '+', '-', 'X', or 'u', 'g', 'o': copy that class's bits
    uint32_t bits;   // to set or clear
    uint32_t who;    // copies: the classes that receive
    char copy_op;    // copies: '+', '-' or '='
  };
  void add(char op, uint32_t who, uint32_t perm);
  size_t clause(const std::string& text, size_t at);
  std::vector<Step> steps_;
};

}  // namespace obd::files
