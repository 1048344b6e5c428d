#include "device/kernel_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "error.h"
#include "system/unique_fd.h"

namespace obd {

void write_attribute(const std::string& path, const std::string& text) {
  const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) throw_errno("open " + path);
  if (::write(fd.get(), text.data(), text.size()) < 0) throw_errno("write \"" + text + "\" to " + path);
}

std::string read_attribute(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return "";
  char text[4096];
  const ssize_t size = ::read(fd.get(), text, sizeof text);
  if (size < 0) return "";
  std::string content(text, static_cast<size_t>(size));
  while (!content.empty() && (content.back() == '\n' || content.back() == '\0')) content.pop_back();
  return content;
}

bool make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) == 0) return true;
  if (errno != EEXIST) throw_errno("mkdir " + path);
  return false;
}

bool remove_directory(const std::string& path) {
  if (::rmdir(path.c_str()) == 0) return true;
  if (errno != ENOENT) throw_errno("rmdir " + path);
  return false;
}

std::vector<std::string> names_in(const std::string& directory) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return names;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

}  // namespace obd
