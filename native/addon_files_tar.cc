// Tars as TypeScript sees them: unpacking, changesets, exports.
#include "addon_files.h"

#include <fcntl.h>

#include <climits>
#include <thread>

#include "files/copier.h"
#include "files/fs_error.h"
#include "files/tar_pipeline.h"
#include "files/tree_tar.h"

namespace obd::files_addon {

using namespace files;

namespace {

// Lets an object go on a thread of its own: its destructor may wait for threads that wait for a device.
template <typename T>
void release_elsewhere(std::shared_ptr<T>* holder) {
  try {
    std::thread([holder] { delete holder; }).detach();
  } catch (const std::system_error&) {
    delete holder;
  }
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
    return sink->write({reinterpret_cast<const char*>(bytes.Data()), bytes.ByteLength()});
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

// (task, {lower?, upper, out, compression, level?, sourceDateEpoch?, exact?})
Napi::Value changeset_write(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto o = info[1].As<Napi::Object>();
  const std::string lower = text_or(o.Get("lower"), ""), upper = text(o.Get("upper"));
  const BlobTarget target(o.Get("out"));
  const Compression kind = compression(o);
  const int level = static_cast<int>(integer(o, "level").value_or(INT_MIN));
  const auto epoch = integer(o, "sourceDateEpoch");
  const bool exact = o.Get("exact").ToBoolean();
  return run_job<BlobResult>(
      info.Env(),
      [=] {
        std::unique_ptr<Tree> below = lower.empty() ? nullptr : std::make_unique<Tree>(whole_tree(lower));
        Tree above(whole_tree(upper));
        return target.write(kind, level, *task,
                            [&](BlobWriter& out) {
                              if (exact && below) return write_exact_changes(*below, above, out, *task);
                              write_changeset(below.get(), above, out, epoch, *task);
                            });
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

// (task, {root, dest, sourceDateEpoch?})
Napi::Value tree_export(const Napi::CallbackInfo& info) {
  const auto task = handle<TaskPtr>(info[0]);
  const auto o = info[1].As<Napi::Object>();
  const std::string root = text(o.Get("root")), dest = text(o.Get("dest"));
  CopyOptions options;
  options.owner = Owner{::geteuid(), ::getegid()};
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

}  // namespace

Functions tar_functions() {
  return {
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
  };
}

}  // namespace obd::files_addon
