// A copy that goes on from its former result leaves what a copy to the files below would.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "files/checksum.h"
#include "files/file_actions.h"
#include "files/xattrs.h"
#include "files_support.h"
#include "layer_support.h"

using namespace obd::files;
using files_test::Scratch;
using obd::test::Random;

namespace {

namespace fs = std::filesystem;

struct Call {
  std::string src, dest;
  std::vector<std::string> include, exclude;
};

std::vector<CopyAction> actions(const std::string& source, const std::vector<Call>& calls, const CopyOptions& options) {
  const auto tree = files_test::tree(source);
  const auto task = files_test::task();
  std::vector<CopyAction> out;
  for (const Call& call : calls) {
    Selection all;
    all.path = "/";
    checksum(*tree, {all}, *task);
    CopyAction action;
    action.source = tree;
    action.path = call.src;
    action.dest = call.dest;
    action.create_dest_path = action.allow_wildcard = action.allow_empty_wildcard = true;
    action.options = options;
    action.options.follow_links = action.options.dir_contents = true;
    action.options.include = call.include;
    action.options.exclude = call.exclude;
    out.push_back(action);
  }
  return out;
}

// Everything a user sees of a tree, by path; times only of what is below `dated`.
std::map<std::string, std::string> picture(const Scratch& s, const std::string& root, const std::vector<std::string>& dated) {
  std::map<std::string, std::string> out;
  std::map<ino_t, std::string> first;
  std::vector<std::string> paths{""};
  for (const auto& entry : fs::recursive_directory_iterator(s.at(root))) {
    paths.push_back(entry.path().string().substr(s.at(root).size()));
  }
  std::sort(paths.begin(), paths.end());
  const Fd top(::open(s.at(root).c_str(), O_RDONLY | O_DIRECTORY));
  for (const auto& path : paths) {
    const struct stat st = s.stat(root + path);
    std::ostringstream text;
    text << std::oct << st.st_mode << std::dec << " " << st.st_uid << ":" << st.st_gid << " " << st.st_rdev;
    const bool below = std::any_of(dated.begin(), dated.end(), [&](const std::string& d) {
      return path.size() > d.size() && path.compare(0, d.size(), d) == 0;
    });
    if (below) text << " " << st.st_mtim.tv_sec << "." << st.st_mtim.tv_nsec;
    if (S_ISREG(st.st_mode)) text << " " << s.read(root + path);
    if (S_ISLNK(st.st_mode)) text << " -> " << s.target(root + path);
    if (!S_ISDIR(st.st_mode)) text << " =" << first.try_emplace(st.st_ino, path).first->second;
    for (const auto& [key, value] : read_xattrs(top.get(), path.empty() ? "" : path.substr(1), path)) text << " " << key << "=" << value;
    out[path] = text.str();
  }
  return out;
}

void copy_tree(const std::string& from, const std::string& to) {
  REQUIRE(std::system(("rm -rf " + to + " && cp -a " + from + " " + to).c_str()) == 0);
}

std::string some_path(const Scratch& s, Random& random, bool dirs) {
  std::vector<std::string> found;
  for (const auto& entry : fs::recursive_directory_iterator(s.at("src"))) {
    if (fs::is_directory(entry.symlink_status()) == dirs) found.push_back(entry.path().string().substr(s.path().size() + 1));
  }
  std::sort(found.begin(), found.end());
  return found.empty() ? "" : found[random.below(found.size())];
}

std::string new_path(const Scratch& s, Random& random) {
  const std::string dir = some_path(s, random, true);
  return (dir.empty() ? "src/a" : dir) + "/" + static_cast<char>('a' + random.below(6));
}

// One thing that may happen to a project.
void mutate(const Scratch& s, Random& random) {
  const std::string file = some_path(s, random, false), dir = some_path(s, random, true), fresh = new_path(s, random);
  const std::string content = "content " + std::to_string(random.below(1000)) + std::string(random.below(9000), 'x');
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
      if (!file.empty() && S_ISREG(s.stat(file).st_mode)) std::ofstream(s.at(file), std::ios::binary) << content;
      break;
    case 3:
    case 4:
      if (!s.exists(fresh)) s.file(fresh, content);
      break;
    case 5:
      if (!file.empty()) fs::remove(s.at(file));
      break;
    case 6:
      if (!dir.empty() && std::count(dir.begin(), dir.end(), '/') > 1) fs::remove_all(s.at(dir));
      break;
    case 7:
      if (!s.exists(fresh)) s.dir(fresh);
      break;
    case 8:
      if (!s.exists(fresh)) s.link(fresh, random.below(2) ? "../a" : "nowhere");
      break;
    case 9:
      if (!file.empty() && !S_ISLNK(s.stat(file).st_mode)) chmod(s.at(file).c_str(), 0600 + static_cast<mode_t>(random.below(64)));
      break;
    case 10:
      if (!dir.empty()) s.set_mtime(dir, 1000 + static_cast<int64_t>(random.below(100000)), 7);
      break;
    case 11:
      if (!file.empty() && !s.exists(fresh) && S_ISREG(s.stat(file).st_mode)) link(s.at(file).c_str(), s.at(fresh).c_str());
      break;
    case 12:
      if (!dir.empty()) chmod(s.at(dir).c_str(), random.below(2) ? 0755 : 0750);
      break;
    case 13: {
      const std::string& on = random.below(2) ? file : dir;
      if (!on.empty()) lsetxattr(s.at(on).c_str(), "user.note", content.data(), 6, 0);
      break;
    }
  }
}

// Makes sure that there is a directory.
void need_dir(const Scratch& s, const std::string& path) {
  const std::string up = fs::path(path).parent_path();
  if (!up.empty()) need_dir(s, up);
  if (s.exists(path) && !S_ISDIR(s.stat(path).st_mode)) fs::remove(s.at(path));
  fs::create_directory(s.at(path));
}

struct Case {
  std::vector<Call> calls;
  std::vector<std::string> dated;  // in the target: all in it comes from the source
};

const std::vector<Case> cases = {
    {{{"/", "/data", {}, {}}}, {"/data"}},
    {{{"/a", "/x", {}, {}}, {"/b", "/x", {}, {}}}, {"/x"}},
    {{{"/", "/", {}, {"a/b", "*.x"}}}, {"/data", "/x"}},
    {{{"/", "/keep", {"a/a", "b", "c/*"}, {}}}, {}},
    {{{"/a/*", "/below/", {}, {}}, {"/", "/below/all", {}, {"c"}}}, {"/below/all"}},
};

}  // namespace

TEST_CASE("whatever happens to the source, a copy that goes on shows what a new one does") {
  int again = 0, anew = 0;
  for (uint64_t seed = 1; seed <= 60; seed++) {
    Scratch s;
    Random random(seed);
    const Case& each = cases[seed % cases.size()];
    CopyOptions options;
    if (random.below(3) == 0) options.owner = Owner{7, 8};
    if (random.below(3) == 0) options.mode = 0751;
    options.replace_existing = random.below(4) == 0;
    for (const char* dir : {"src/a/a", "src/b/b", "src/c"}) s.dir(dir);
    for (int i = 0; i < 25; i++) mutate(s, random);
    for (const char* dir : {"src/a/a", "src/b/b", "src/c"}) need_dir(s, dir);
    // What is below: some of the places are taken.
    s.file("base/x/a", "below", 0640);
    s.file("base/keep/b/c", "below");
    s.file("base/data/b/a", "below");
    s.dir("base/below/all/a", 0700);
    s.dir("base/keep/a", 0711);

    copy_tree(s.at("base"), s.at("result"));
    std::string notes;
    for (int round = 0; round < 8; round++) {
      CAPTURE(seed);
      CAPTURE(round);
      copy_tree(s.at("base"), s.at("plain"));
      const std::string failed = files_test::failure([&] {
        std::vector<FileAction> list;
        for (auto& action : actions(s.at("src"), each.calls, options)) list.push_back(action);
        run_file_actions(s.at("plain"), list, files_test::task());
      });
      const std::string next = s.at("notes" + std::to_string(round));
      std::optional<CopyNotes::Saved> saved;
      if (!notes.empty()) {
        files_test::failure([&] {
          saved = run_noted_copies(s.at("result"), actions(s.at("src"), each.calls, options), notes, next, files_test::task());
        });
        saved ? again++ : anew++;
      }
      if (!saved) {
        copy_tree(s.at("base"), s.at("result"));
        const std::string message = files_test::failure([&] {
          saved = run_noted_copies(s.at("result"), actions(s.at("src"), each.calls, options), "", next, files_test::task());
        });
        CHECK(message == failed);
      } else {
        CHECK(failed == "");
      }
      if (saved) CHECK(picture(s, "result", each.dated) == picture(s, "plain", each.dated));
      notes = saved && saved->size > 0 ? next : "";
      for (uint64_t i = random.below(5); i > 0; i--) mutate(s, random);
      for (const char* dir : {"src/a", "src/b"}) need_dir(s, dir);
    }
  }
  MESSAGE(again << " copies went on, " << anew << " were made anew");
  CHECK(again > 100);
  CHECK(anew > 10);
}

TEST_CASE("what has not changed is not read, what has is") {
  Scratch s;
  for (int i = 0; i < 20; i++) s.file("src/d" + std::to_string(i % 3) + "/f" + std::to_string(i), "one");
  s.dir("dst");
  const std::vector<Call> calls{{"/", "/data", {}, {}}};
  const auto run = [&](const std::string& former, const std::string& notes) {
    auto task = files_test::task();
    const auto saved = run_noted_copies(s.at("dst"), actions(s.at("src"), calls, {}), former, notes, task);
    REQUIRE(saved);
    CHECK(fs::file_size(notes) == saved->size);
    return std::pair<uint64_t, uint64_t>{task->files, task->bytes};
  };
  CHECK(run("", s.at("1")) == std::pair<uint64_t, uint64_t>{20, 60});
  CHECK(run(s.at("1"), s.at("2")) == std::pair<uint64_t, uint64_t>{0, 0});
  const ino_t untouched = s.stat("dst/data/d0/f0").st_ino;
  s.file("src/d1/f1", "changed");
  fs::remove(s.at("src/d2/f2"));
  CHECK(run(s.at("2"), s.at("3")) == std::pair<uint64_t, uint64_t>{1, 7});
  CHECK(s.read("dst/data/d1/f1") == "changed");
  CHECK_FALSE(s.exists("dst/data/d2/f2"));
  CHECK(s.stat("dst/data/d0/f0").st_ino == untouched);

  std::string damaged = s.read("3");
  damaged[damaged.size() / 2] ^= 1;
  s.file("damaged", damaged);
  CHECK(files_test::failure([&] { run(s.at("damaged"), s.at("4")); }).find("damaged") != std::string::npos);
  CHECK(files_test::failure([&] { run(s.at("none"), s.at("4")); }).find("no such file") != std::string::npos);
}
