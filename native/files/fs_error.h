// Errors of file work. Messages read as Go's os.PathError does ("open /x: no such file or directory"),
// because users and frontends know BuildKit's texts; the errno travels along for the `code` in JavaScript.
#pragma once
#include <cerrno>
#include <string>
#include <system_error>

namespace obd::files {

// strerror() as Go prints it: the C library's text with a small first letter.
std::string error_text(int err);

// A message of our own with the errno it stands for.
class FsError : public std::system_error {
 public:
  FsError(std::string message, int err)
      : std::system_error(err, std::generic_category()), message_(std::move(message)) {}
  const char* what() const noexcept override { return message_.c_str(); }
  int err() const { return code().value(); }

 private:
  std::string message_;
};

// Throws FsError "<op> <path>: <error>".
[[noreturn]] void throw_path(const std::string& op, const std::string& path, int err = errno);

// Runs `fn`; an FsError out of it gets "<what>: " in front, as errors.Wrap does.
template <typename Fn>
auto with_context(const std::string& what, Fn&& fn) {
  try {
    return fn();
  } catch (const FsError& e) {
    throw FsError(what + ": " + e.what(), e.err());
  }
}

}  // namespace obd::files
