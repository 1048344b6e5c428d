// Copies from a tree into a root with the rules of fsutil/copy, which are those of COPY.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "files/content_pool.h"
#include "files/copy_notes.h"
#include "files/make_dirs.h"
#include "files/mode_change.h"
#include "files/patterns.h"
#include "files/task.h"
#include "files/tree.h"

namespace obd::files {

struct CopyOptions {
  std::optional<Owner> owner;        // else the source's
  std::optional<uint32_t> mode;      // 07777; else the source's
  std::optional<ModeChange> change;  // wins over `mode`
  std::optional<int64_t> timestamp;  // nanoseconds since the epoch; else the source's mtime
  bool follow_links = false;         // a symlink in the last place of the source stands for its target
  bool dir_contents = false;         // of a directory only what is in it
  bool replace_existing = false;     // a target of another type is replaced instead of refused
  std::vector<std::string> include, exclude;
};

class Copier {
 public:
  // What the pool still writes when `copy` returns is done after pool.finish(). With `notes`, a target that a former
  // run wrote is brought to what the source is now.
  Copier(Tree& source, const Root& target, const CopyOptions& options, ContentPool& pool, Task& task,
         CopyNotes* notes = nullptr);

  // Copies one path (no wildcards). A target that ends in a slash, or is a directory, receives the source
  // under its name. Throws FsError with BuildKit's texts.
  void copy(const std::string& source, const std::string& target);

 private:
  // A target directory: made when the first thing is put into it.
  struct Level {
    Level* up;
    const Node* source;
    std::string name, shown;
    Fd fd;
    bool ready = false;
    bool created = false;
  };
  struct Match {
    MatchInfo include, exclude;
  };

  std::string target_path(const Node& source, const std::string& source_path, std::string target);
  void entry(Node& node, const std::string& relative, Level& up, const std::string& name, bool nested,
             const Match& parent);
  void directory(Node& node, const std::string& relative, Level& up, const std::string& name, bool nested,
                 bool wanted, bool excluded, const Match& own);
  void ensure(Level& level, bool overwrite);
  bool enter(Level& level);
  void make_dirs_to(const std::string& path);
  void make_file(Node& node, Level& up, const std::string& name, const std::string& shown);
  bool clear_target(const Node& node, Level& up, const std::string& name, const std::string& shown);
  void dir_metadata(const Level& level);
  void special_metadata(const Node& node, const Level& up, const std::string& name, const std::string& shown);
  Metadata metadata(const Node& node) const;

  Tree& source_;
  const Root& target_;
  const CopyOptions& options_;
  ContentPool& pool_;
  Task& task_;
  CopyNotes* const notes_;
  std::unique_ptr<PatternMatcher> include_, exclude_;
  std::map<std::pair<uint64_t, uint64_t>, std::string> links_;  // (device, inode) -> the first target path
  std::vector<std::string> made_;
};

}  // namespace obd::files
