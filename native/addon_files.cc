// The files room as TypeScript sees it: plain values in, promises out. src/native/files.ts gives the types.
#include "addon_files.h"

#include <fcntl.h>

#include "addon.h"
#include "files/checksum.h"
#include "files/file_actions.h"
#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/root_ops.h"

namespace obd {
namespace files_addon {

using namespace files;

std::string text(const Napi::Value& value) {
  if (!value.IsString()) throw Napi::TypeError::New(value.Env(), "expected a string");
  std::string out = value.As<Napi::String>();
  if (out.find('\0') != std::string::npos) throw Napi::TypeError::New(value.Env(), "a string with a NUL character");
  return out;
}

std::string text_or(const Napi::Value& value, const std::string& otherwise) {
  return value.IsUndefined() || value.IsNull() ? otherwise : text(value);
}

std::vector<std::string> texts(const Napi::Value& value) {
  std::vector<std::string> out;
  if (value.IsUndefined() || value.IsNull()) return out;
  if (!value.IsArray()) throw Napi::TypeError::New(value.Env(), "expected an array of strings");
  const auto array = value.As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) out.push_back(text(array.Get(i)));
  return out;
}

bool flag(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  return value.IsBoolean() && value.As<Napi::Boolean>().Value();
}

std::optional<int64_t> integer(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (value.IsUndefined() || value.IsNull()) return std::nullopt;
  if (value.IsNumber()) return value.As<Napi::Number>().Int64Value();
  bool lossless = false;
  const int64_t out = value.IsBigInt() ? value.As<Napi::BigInt>().Int64Value(&lossless) : 0;
  if (!lossless) throw Napi::TypeError::New(value.Env(), std::string(name) + " must be an integer");
  return out;
}

std::optional<Owner> owner(const Napi::Object& object) {
  const Napi::Value value = object.Get("owner");
  if (!value.IsObject()) return std::nullopt;
  const auto both = value.As<Napi::Object>();
  return Owner{both.Get("uid").ToNumber().Uint32Value(), both.Get("gid").ToNumber().Uint32Value()};
}

Napi::Value strings_value(Napi::Env env, const std::vector<std::string>& list) {
  auto out = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) out.Set(static_cast<uint32_t>(i), list[i]);
  return out;
}

Napi::Promise run_void(Napi::Env env, std::function<void()> work) {
  return run_job<int>(
      env,
      [work] {
        work();
        return 0;
      },
      [](Napi::Env e, int&) { return e.Undefined(); });
}

namespace {

TreePtr open_tree(const Napi::Value& value) {
  TreePtr tree = handle<TreePtr>(value);
  if (!tree) throw Napi::Error::New(value.Env(), "the file tree is closed");
  return tree;
}

uint32_t mode_or(const Napi::Object& object, uint32_t otherwise) {
  return static_cast<uint32_t>(integer(object, "mode").value_or(otherwise));
}

TreeOptions tree_options(const Napi::Object& o) {
  TreeOptions out;
  out.root = text(o.Get("root"));
  out.include = texts(o.Get("includePatterns"));
  out.exclude = texts(o.Get("excludePatterns"));
  out.follow = texts(o.Get("followPaths"));
  out.reset_owner = flag(o, "resetOwner");
  out.skip_lost_found = flag(o, "skipLostFound");
  out.stat_cache = text_or(o.Get("statCache"), "");
  return out;
}

Selection selection(const Napi::Object& o) {
  Selection out;
  out.path = text_or(o.Get("path"), "/");
  out.wildcard = flag(o, "wildcard");
  out.follow_links = flag(o, "followLinks");
  out.include = texts(o.Get("includePatterns"));
  out.exclude = texts(o.Get("excludePatterns"));
  out.required = texts(o.Get("requiredPaths"));
  return out;
}

CopyAction copy_action(const Napi::Object& o) {
  CopyAction out;
  out.source = open_tree(o.Get("source"));
  out.path = text(o.Get("src"));
  out.dest = text(o.Get("dest"));
  out.create_dest_path = flag(o, "createDestPath");
  out.allow_wildcard = flag(o, "allowWildcard");
  out.allow_empty_wildcard = flag(o, "allowEmptyWildcard");
  out.unpack = flag(o, "attemptUnpack");
  out.options.owner = owner(o);
  if (auto mode = integer(o, "mode")) out.options.mode = static_cast<uint32_t>(*mode);
  out.mode_change = text_or(o.Get("modeStr"), "");
  out.options.timestamp = integer(o, "timestamp");
  out.required = texts(o.Get("requiredPaths"));
  out.options.follow_links = flag(o, "followSymlink");
  out.options.dir_contents = flag(o, "dirCopyContents");
  out.options.replace_existing = flag(o, "alwaysReplaceExistingDestPaths");
  out.options.include = texts(o.Get("includePatterns"));
  out.options.exclude = texts(o.Get("excludePatterns"));
  return out;
}

FileAction file_action(const Napi::Object& o) {
  const std::string kind = text(o.Get("type"));
  if (kind == "mkdir") {
    return MkdirAction{text(o.Get("path")), mode_or(o, 0755), flag(o, "makeParents"), owner(o), integer(o, "timestamp")};
  }
  if (kind == "mkfile") {
    const auto data = o.Get("data").As<Napi::Uint8Array>();
    return MkfileAction{text(o.Get("path")), mode_or(o, 0644),
                        std::string(reinterpret_cast<const char*>(data.Data()), data.ByteLength()), owner(o),
                        integer(o, "timestamp")};
  }
  if (kind == "symlink") {
    return SymlinkAction{text(o.Get("oldPath")), text(o.Get("newPath")), owner(o), integer(o, "timestamp")};
  }
  if (kind == "rm") return RmAction{text(o.Get("path")), flag(o, "allowNotFound"), flag(o, "allowWildcard")};
  if (kind == "copy") return copy_action(o);
  throw Napi::TypeError::New(o.Env(), "unknown file action \"" + kind + "\"");
}

// --- values out ------------------------------------------------------------------------------------------

Napi::Value entry_value(Napi::Env env, const Entry& entry) {
  auto out = Napi::Object::New(env);
  out.Set("path", entry.name);
  out.Set("mode", entry.mode);
  out.Set("uid", entry.uid);
  out.Set("gid", entry.gid);
  out.Set("size", static_cast<double>(entry.size));
  out.Set("mtimeNs", Napi::BigInt::New(env, entry.mtime));
  if (!entry.link.empty()) out.Set("linkname", entry.link);
  return out;
}

// --- the functions ---------------------------------------------------------------------------------------

Napi::Value task_new(const Napi::CallbackInfo& info) {
  return Napi::External<TaskPtr>::New(info.Env(), new TaskPtr(std::make_shared<Task>()),
                                      [](Napi::Env, TaskPtr* task) { delete task; });
}

Napi::Value task_cancel(const Napi::CallbackInfo& info) {
  handle<TaskPtr>(info[0])->cancelled = true;
  return info.Env().Undefined();
}

// [bytes, files]
Napi::Value task_counters(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  auto out = Napi::Array::New(info.Env(), 2);
  out.Set(0u, static_cast<double>(task->bytes));
  out.Set(1u, static_cast<double>(task->files));
  return out;
}

Napi::Value tree_open(const Napi::CallbackInfo& info) {
  const TreeOptions options = tree_options(info[0].As<Napi::Object>());
  return run_job<TreePtr>(
      info.Env(), [options] { return std::make_shared<Tree>(options); },
      [](Napi::Env env, TreePtr& tree) {
        return Napi::External<TreePtr>::New(env, new TreePtr(tree), [](Napi::Env, TreePtr* t) { delete t; });
      });
}

// Lets go of the tree's memory and descriptor now instead of at the next garbage collection.
Napi::Value tree_close(const Napi::CallbackInfo& info) {
  info[0].As<Napi::External<TreePtr>>().Data()->reset();
  return info.Env().Undefined();
}

Napi::Value tree_checksum(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto tree = open_tree(info[1]);
  std::vector<Selection> selections;
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) selections.push_back(selection(list.Get(i).As<Napi::Object>()));
  return run_job<std::vector<std::string>>(
      info.Env(), [=] { return checksum(*tree, selections, *task); }, strings_value);
}

Napi::Value run_actions(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const std::string root = text(info[1]);
  auto actions = std::make_shared<std::vector<FileAction>>();
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) actions->push_back(file_action(list.Get(i).As<Napi::Object>()));
  return run_void(info.Env(), [=] { run_file_actions(root, *actions, task); });
}

// filesRunNotedCopies(task, root, actions, former | undefined, notes) -> {digest, size} | undefined
Napi::Value run_noted_copies_js(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const std::string root = text(info[1]), former = text_or(info[3], ""), notes = text(info[4]);
  auto actions = std::make_shared<std::vector<CopyAction>>();
  const auto list = info[2].As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) actions->push_back(copy_action(list.Get(i).As<Napi::Object>()));
  using Saved = std::optional<CopyNotes::Saved>;
  return run_job<Saved>(
      info.Env(), [=] { return run_noted_copies(root, *actions, former, notes, task); },
      [](Napi::Env env, Saved& saved) -> Napi::Value {
        if (!saved) return env.Undefined();
        auto out = Napi::Object::New(env);
        out.Set("digest", digest_string(saved->digest));
        out.Set("size", static_cast<double>(saved->size));
        return out;
      });
}

Napi::Value root_read_file(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]);
  const auto options = info[2].As<Napi::Object>();
  const uint64_t offset = static_cast<uint64_t>(integer(options, "offset").value_or(0));
  const uint64_t length = static_cast<uint64_t>(integer(options, "length").value_or(INT64_MAX));
  const uint64_t max = static_cast<uint64_t>(integer(options, "maxBytes").value_or(64 << 20));
  return run_job<std::string>(
      info.Env(), [=] { return read_file(Root(root), path, offset, length, max); },
      [](Napi::Env env, std::string& data) { return Napi::Buffer<char>::Copy(env, data.data(), data.size()); });
}

Napi::Value root_stat(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]);
  const bool follow = info[2].ToBoolean();
  return run_job<Entry>(info.Env(), [=] { return stat_path(Root(root), path, follow); }, entry_value);
}

Napi::Value root_resolve(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]);
  return run_job<std::string>(
      info.Env(),
      [=] {
        const Root dir(root);
        const std::string resolved = dir.resolve(path);
        if (!dir.try_open_resolved(resolved, O_PATH | O_NOFOLLOW)) throw_path("lstat", path);
        return join_path(root, resolved);
      },
      [](Napi::Env env, std::string& resolved) { return Napi::String::New(env, resolved); });
}

Napi::Value root_read_dir(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]), include = text_or(info[2], "");
  return run_job<std::vector<Entry>>(
      info.Env(), [=] { return read_dir(Root(root), path, include); },
      [](Napi::Env env, std::vector<Entry>& list) -> Napi::Value {
        auto out = Napi::Array::New(env, list.size());
        for (size_t i = 0; i < list.size(); i++) out.Set(static_cast<uint32_t>(i), entry_value(env, list[i]));
        return out;
      });
}

Napi::Value root_ensure_mountpoint(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]);
  const bool directory = info[2].ToBoolean();
  return run_job<std::vector<std::string>>(
      info.Env(), [=] { return ensure_mountpoint(Root(root), path, directory); }, strings_value);
}

Napi::Value root_remove_created(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]);
  const auto created = texts(info[1]);
  return run_void(info.Env(), [=] { remove_created(Root(root), created); });
}

Napi::Value remove_tree(const Napi::CallbackInfo& info) {
  const std::string path = text(info[0]);
  return run_void(info.Env(), [=] { remove_all(AT_FDCWD, path, path); });
}

}  // namespace
}  // namespace files_addon

void export_files(Napi::Env env, Napi::Object exports) {
  using namespace files_addon;
  Functions functions = tar_functions();
  const Functions own = {
      {"filesTaskNew", task_new},
      {"filesTaskCancel", task_cancel},
      {"filesTaskCounters", task_counters},
      {"filesTreeOpen", tree_open},
      {"filesTreeClose", tree_close},
      {"filesTreeChecksum", tree_checksum},
      {"filesRunActions", run_actions},
      {"filesRunNotedCopies", run_noted_copies_js},
      {"filesReadFile", root_read_file},
      {"filesStat", root_stat},
      {"filesResolve", root_resolve},
      {"filesReadDir", root_read_dir},
      {"filesEnsureMountpoint", root_ensure_mountpoint},
      {"filesRemoveCreated", root_remove_created},
      {"filesRemoveTree", remove_tree},
  };
  functions.insert(functions.end(), own.begin(), own.end());
  for (const auto& [name, function] : functions) exports.Set(name, Napi::Function::New(env, function, name));
}

}  // namespace obd
