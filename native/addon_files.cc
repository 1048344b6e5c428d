// The files room as TypeScript sees it: plain values in, promises out. src/native/files.ts gives the types.
#include <fcntl.h>

#include <climits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "addon.h"
#include "addon_job.h"
#include "files/checksum.h"
#include "files/file_actions.h"
#include "files/fs_error.h"
#include "files/go_path.h"
#include "files/root_ops.h"
#include "files/tar_pipeline.h"
#include "files/tree_tar.h"

namespace obd {
namespace {

using namespace files;

using TaskPtr = std::shared_ptr<Task>;
using TreePtr = std::shared_ptr<Tree>;

// --- values in -------------------------------------------------------------------------------------------

template <typename T>
T handle(const Napi::Value& value) {
  return *value.As<Napi::External<T>>().Data();
}

TreePtr open_tree(const Napi::Value& value) {
  TreePtr tree = handle<TreePtr>(value);
  if (!tree) throw Napi::Error::New(value.Env(), "the file tree is closed");
  return tree;
}

std::string text(const Napi::Value& value) {
  if (!value.IsString()) throw Napi::TypeError::New(value.Env(), "expected a string");
  return value.As<Napi::String>().Utf8Value();
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

// A number or bigint that fits 64 bits; nothing when the property is missing.
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

Napi::Value strings_value(Napi::Env env, const std::vector<std::string>& list) {
  auto out = Napi::Array::New(env, list.size());
  for (size_t i = 0; i < list.size(); i++) out.Set(static_cast<uint32_t>(i), list[i]);
  return out;
}

// Work that gives nothing back.
Napi::Promise run_void(Napi::Env env, std::function<void()> work) {
  return run_job<int>(
      env,
      [work] {
        work();
        return 0;
      },
      [](Napi::Env e, int&) { return e.Undefined(); });
}

// Lets an object go on a thread of its own: its destructor may wait for threads that wait for a device.
template <typename T>
void release_elsewhere(std::shared_ptr<T>* holder) {
  std::thread([holder] { delete holder; }).detach();
}

// Calls `fn` here and now; what it throws becomes a JavaScript exception.
template <typename Fn>
auto guarded(Napi::Env env, Fn&& fn) {
  try {
    return fn();
  } catch (const std::system_error& e) {
    throw to_js_error(env, {e.what(), e.code().value()});
  } catch (const std::exception& e) {
    throw to_js_error(env, {e.what(), 0});
  }
}

UnpackOptions unpack_options(const Napi::Object& o) {
  return {text(o.Get("mode")) == "archive" ? UnpackMode::archive : UnpackMode::layer, owner(o)};
}

Napi::Value unpack_value(Napi::Env env, const UnpackResult& result) {
  auto out = Napi::Object::New(env);
  out.Set("digest", digest_string(result.digest));
  out.Set("diffId", digest_string(result.diff_id));
  out.Set("size", static_cast<double>(result.size));
  out.Set("files", static_cast<double>(result.entries));
  return out;
}

Napi::Value blob_value(Napi::Env env, const BlobResult& result) {
  auto out = Napi::Object::New(env);
  out.Set("digest", digest_string(result.digest));
  out.Set("diffId", digest_string(result.diff_id));
  out.Set("size", static_cast<double>(result.size));
  return out;
}

// Where a blob is written: a path, which is created and goes away again when writing fails, or a descriptor.
class BlobTarget {
 public:
  explicit BlobTarget(const Napi::Value& out)
      : path_(out.IsString() ? text(out) : ""), fd_(out.IsNumber() ? out.As<Napi::Number>().Int32Value() : -1) {}

  BlobResult write(Compression compression, int level, Task& task, const std::function<void(BlobWriter&)>& fill) const {
    Fd file;
    if (!path_.empty()) {
      file = Fd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
      if (!file) throw_path("create", path_);
    }
    try {
      BlobWriter writer(file ? file.get() : fd_, path_.empty() ? "output" : path_, compression, level, task);
      fill(writer);
      return writer.finish();
    } catch (...) {
      if (!path_.empty()) ::unlink(path_.c_str());
      throw;
    }
  }

 private:
  std::string path_;
  int fd_;
};

Compression compression(const Napi::Object& o) {
  const std::string name = text_or(o.Get("compression"), "uncompressed");
  if (name == "uncompressed") return Compression::none;
  if (name == "gzip") return Compression::gzip;
  if (name == "zstd") return Compression::zstd;
  throw Napi::TypeError::New(o.Env(), "unknown compression \"" + name + "\"");
}

TreeOptions whole_tree(const std::string& root) {
  TreeOptions out;
  out.root = root;
  out.skip_lost_found = true;
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

using SinkPtr = std::shared_ptr<TarPipeline>;

// (task, root, {mode, owner})
Napi::Value sink_open(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const std::string root = text(info[1]);
  const UnpackOptions options = unpack_options(info[2].As<Napi::Object>());
  return run_job<SinkPtr>(
      info.Env(), [=] { return std::make_shared<TarPipeline>(root, options, task); },
      [](Napi::Env env, SinkPtr& sink) {
        return Napi::External<SinkPtr>::New(env, new SinkPtr(std::move(sink)),
                                            [](Napi::Env, SinkPtr* s) { release_elsewhere(s); });
      });
}

SinkPtr open_sink(const Napi::Value& value) {
  SinkPtr sink = handle<SinkPtr>(value);
  if (!sink) throw Napi::Error::New(value.Env(), "the tar sink is closed");
  return sink;
}

// Takes the bytes; false when the next write should wait for room.
Napi::Value sink_write(const Napi::CallbackInfo& info) {
  const SinkPtr sink = open_sink(info[0]);
  const auto bytes = info[1].As<Napi::Uint8Array>();
  const bool room = guarded(info.Env(), [&] {
    return sink->write(std::string(reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()));
  });
  return Napi::Boolean::New(info.Env(), room);
}

Napi::Value sink_wait_room(const Napi::CallbackInfo& info) {
  const SinkPtr sink = open_sink(info[0]);
  return run_void(info.Env(), [sink] { sink->wait_room(); });
}

Napi::Value sink_end(const Napi::CallbackInfo& info) {
  auto sink = std::make_shared<SinkPtr>(open_sink(info[0]));
  info[0].As<Napi::External<SinkPtr>>().Data()->reset();
  return run_job<UnpackResult>(
      info.Env(),
      [sink] {
        SinkPtr mine = std::move(*sink);  // its last owner: gone when this job ends
        return mine->finish();
      },
      unpack_value);
}

Napi::Value sink_abort(const Napi::CallbackInfo& info) {
  auto sink = std::make_shared<SinkPtr>(std::move(*info[0].As<Napi::External<SinkPtr>>().Data()));
  return run_void(info.Env(), [sink] {
    if (*sink) (*sink)->cancel();
    sink->reset();
  });
}

// (task, file, root, {mode, owner})
Napi::Value unpack_tar(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const std::string file = text(info[1]), root = text(info[2]);
  const UnpackOptions options = unpack_options(info[3].As<Napi::Object>());
  return run_job<UnpackResult>(
      info.Env(),
      [=] {
        Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) throw_path("open", file);
        return unpack_file(fd.get(), file, root, options, task);
      },
      unpack_value);
}

Napi::Value root_is_archive(const Napi::CallbackInfo& info) {
  const std::string root = text(info[0]), path = text(info[1]);
  return run_job<bool>(
      info.Env(),
      [=] {
        const Root dir(root);
        auto st = dir.lstat(dir.resolve(path));
        return st && S_ISREG(st->st_mode) && is_archive(dir.open(path, O_RDONLY).get());
      },
      [](Napi::Env env, bool& yes) { return Napi::Boolean::New(env, yes); });
}

// (task, {lower?, upper, out, compression, level?, sourceDateEpoch?})
Napi::Value changeset_write(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto o = info[1].As<Napi::Object>();
  const std::string lower = text_or(o.Get("lower"), ""), upper = text(o.Get("upper"));
  const BlobTarget target(o.Get("out"));
  const Compression kind = compression(o);
  const int level = static_cast<int>(integer(o, "level").value_or(INT_MIN));
  const auto epoch = integer(o, "sourceDateEpoch");
  return run_job<BlobResult>(
      info.Env(),
      [=] {
        std::unique_ptr<Tree> below = lower.empty() ? nullptr : std::make_unique<Tree>(whole_tree(lower));
        Tree above(whole_tree(upper));
        return target.write(kind, level, *task,
                            [&](BlobWriter& out) { write_changeset(below.get(), above, out, epoch, *task); });
      },
      blob_value);
}

// (task, {root, out, sourceDateEpoch?})
Napi::Value root_tar_write(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto o = info[1].As<Napi::Object>();
  const std::string root = text(o.Get("root"));
  const BlobTarget target(o.Get("out"));
  const auto epoch = integer(o, "sourceDateEpoch");
  return run_job<BlobResult>(
      info.Env(),
      [=] {
        Tree tree(whole_tree(root));
        return target.write(Compression::none, 0, *task,
                            [&](BlobWriter& out) { write_root_tar(tree, out, epoch, *task); });
      },
      blob_value);
}

// (task, {root, dest, owner, sourceDateEpoch?})
Napi::Value tree_export(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto o = info[1].As<Napi::Object>();
  const std::string root = text(o.Get("root")), dest = text(o.Get("dest"));
  CopyOptions options;
  options.owner = owner(o);
  options.dir_contents = options.replace_existing = true;
  if (auto epoch = integer(o, "sourceDateEpoch")) options.timestamp = *epoch * 1'000'000'000;
  return run_void(info.Env(), [=] {
    Tree tree(whole_tree(root));
    const Root target(dest);
    ContentPool pool(*task);
    Copier(tree, target, options, pool, *task).copy("/", "/");
    pool.finish();
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
      info.Env(), [=] { return join_path(root, Root(root).resolve(path)); },
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

void export_files(Napi::Env env, Napi::Object exports) {
  const std::pair<const char*, Napi::Value (*)(const Napi::CallbackInfo&)> functions[] = {
      {"filesTaskNew", task_new},
      {"filesTaskCancel", task_cancel},
      {"filesTaskCounters", task_counters},
      {"filesTreeOpen", tree_open},
      {"filesTreeClose", tree_close},
      {"filesTreeChecksum", tree_checksum},
      {"filesRunActions", run_actions},
      {"filesSinkOpen", sink_open},
      {"filesSinkWrite", sink_write},
      {"filesSinkWaitRoom", sink_wait_room},
      {"filesSinkEnd", sink_end},
      {"filesSinkAbort", sink_abort},
      {"filesUnpackTar", unpack_tar},
      {"filesIsArchive", root_is_archive},
      {"filesWriteChangeset", changeset_write},
      {"filesWriteRootTar", root_tar_write},
      {"filesExportTree", tree_export},
      {"filesReadFile", root_read_file},
      {"filesStat", root_stat},
      {"filesResolve", root_resolve},
      {"filesReadDir", root_read_dir},
      {"filesEnsureMountpoint", root_ensure_mountpoint},
      {"filesRemoveCreated", root_remove_created},
      {"filesRemoveTree", remove_tree},
  };
  for (const auto& [name, function] : functions) exports.Set(name, Napi::Function::New(env, function, name));
}

}  // namespace obd
