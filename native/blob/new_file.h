// A file that gets its name only when it is complete.
#pragma once
#include <string>

#include "system/unique_fd.h"

namespace obd {

class NewFile {
 public:
  // Starts a nameless file in the directory of `path` (O_TMPFILE), so that nothing stays behind even when
  // the process is killed; where the file system has no such files it is called "<path>.tmp" meanwhile.
  // Throws std::system_error.
  explicit NewFile(std::string path);
  ~NewFile();
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;

  int fd() const { return fd_.get(); }  // read and write
  const std::string& name() const { return path_; }
  // Gives the file its name, replacing what had it.
  void keep();

 private:
  std::string path_, temp_;
  UniqueFd fd_;
  bool temp_exists_ = false;
};

}  // namespace obd
