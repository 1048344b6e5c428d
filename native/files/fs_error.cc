#include "files/fs_error.h"

#include <cctype>
#include <cstring>

namespace obd::files {

std::string error_text(int err) {
  char buf[128];
  std::string text = strerror_r(err, buf, sizeof buf);  // the GNU variant: thread-safe, returns the text
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1]))) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

void throw_path(const std::string& op, const std::string& path, int err) {
  throw FsError(op + " " + path + ": " + error_text(err), err);
}

}  // namespace obd::files
