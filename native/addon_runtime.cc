// The runtime room's exports: child processes and the root file system around a container run.
#include <sys/ioctl.h>

#include "addon.h"
#include "addon_job.h"
#include "runtime/child.h"
#include "runtime/rootfs.h"
#include "runtime/x32.h"

namespace obd {
namespace {

std::vector<std::string> string_list(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<std::string> list;
  list.reserve(array.Length());
  for (uint32_t i = 0; i < array.Length(); i++) list.push_back(array.Get(i).As<Napi::String>().Utf8Value());
  return list;
}

Napi::Array to_js(Napi::Env env, const std::vector<std::string>& list) {
  Napi::Array array = Napi::Array::New(env, list.size());
  for (uint32_t i = 0; i < list.size(); i++) array.Set(i, Napi::String::New(env, list[i]));
  return array;
}

// What the thread of a child reports: a piece of output or, last, how it ended. One queue carries both,
// so that the promise settles after all output was delivered.
struct Report {
  int stream = 0;  // 0: the end
  std::string data;
  runtime::ExitStatus status;
  std::unique_ptr<JobError> error;
};

// How many reports may wait for JavaScript before the child is made to wait.
constexpr size_t kQueue = 64;

using Deferred = std::shared_ptr<Napi::Promise::Deferred>;

void settle(Napi::Env env, const Deferred& exited, const Report& end) {
  if (end.error) return exited->Reject(to_js_error(env, *end.error).Value());
  Napi::Object status = Napi::Object::New(env);
  status.Set("code", Napi::Number::New(env, end.status.code));
  status.Set("signal", Napi::Number::New(env, end.status.signal));
  exited->Resolve(status);
}

void watch(runtime::Child child, Napi::ThreadSafeFunction reports, const Deferred& exited) {
  const auto send = [&](std::unique_ptr<Report> report) {
    const napi_status sent = reports.BlockingCall(report.get(), [exited](Napi::Env env, Napi::Function fn, Report* raw) {
      std::unique_ptr<Report> owned(raw);
      if (env == nullptr) return;  // the environment is being torn down
      Napi::HandleScope scope(env);
      if (owned->stream == 0) return settle(env, exited, *owned);
      fn.Call({Napi::Number::New(env, owned->stream), Napi::Buffer<char>::Copy(env, owned->data.data(), owned->data.size())});
    });
    if (sent == napi_ok) report.release();
  };
  auto end = std::make_unique<Report>();
  try {
    end->status = child.wait([&](int stream, const uint8_t* data, size_t size) {
      auto report = std::make_unique<Report>();
      report->stream = stream;
      report->data.assign(reinterpret_cast<const char*>(data), size);
      send(std::move(report));
    });
  } catch (const std::system_error& e) {
    end->error = std::make_unique<JobError>(JobError{e.what(), e.code().value()});
  }
  send(std::move(end));
  reports.Release();
}

// spawnProcess(argv, env, input: 'none' | 'pipe' | 'terminal', onOutput): { pid, input?: fd, exited: Promise<{ code, signal }> }
Napi::Value spawn_process(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  try {
    const std::string input = info[2].As<Napi::String>();
    runtime::Child child = runtime::Child::spawn(
        string_list(info[0]), string_list(info[1]),
        input == "pipe" ? runtime::Input::pipe : input == "terminal" ? runtime::Input::terminal : runtime::Input::none);
    Napi::Object result = Napi::Object::New(env);
    result.Set("pid", Napi::Number::New(env, child.pid()));
    files::Fd input_end(child.release_input());
    auto exited = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
    result.Set("exited", exited->Promise());
    auto reports = Napi::ThreadSafeFunction::New(env, info[3].As<Napi::Function>(), "obd process", kQueue, 1);
    try {
      std::thread(watch, std::move(child), reports, exited).detach();
    } catch (const std::system_error& e) {
      reports.Release();
      throw to_js_error(env, no_thread(e));
    }
    if (input_end) result.Set("input", Napi::Number::New(env, input_end.release()));
    return result;
  } catch (const std::system_error& e) {
    throw to_js_error(env, {e.what(), e.code().value()});
  }
}

// [{ path, source }]
std::vector<runtime::MountPoint> mount_points(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<runtime::MountPoint> points;
  for (uint32_t i = 0; i < array.Length(); i++) {
    const auto point = array.Get(i).As<Napi::Object>();
    points.push_back({point.Get("path").As<Napi::String>().Utf8Value(), point.Get("source").As<Napi::String>().Utf8Value()});
  }
  return points;
}

// prepareRootfs(root, mountPoints, recursive, files, cwd): Promise<{ stubs, files, cwdExists }>
Napi::Value prepare_rootfs(const Napi::CallbackInfo& info) {
  return run_job<runtime::RootfsState>(
      info.Env(),
      [root = info[0].As<Napi::String>().Utf8Value(), points = mount_points(info[1]),
       recursive = info[2].As<Napi::Boolean>().Value(), files = string_list(info[3]),
       cwd = info[4].As<Napi::String>().Utf8Value()] {
        return runtime::prepare_rootfs(root, points, recursive, files, cwd);
      },
      [](Napi::Env env, runtime::RootfsState& state) -> Napi::Value {
        Napi::Object value = Napi::Object::New(env);
        Napi::Array files = Napi::Array::New(env, state.files.size());
        for (uint32_t i = 0; i < state.files.size(); i++) {
          if (const auto& file = state.files[i]) files.Set(i, Napi::Buffer<char>::Copy(env, file->data(), file->size()));
        }
        value.Set("stubs", to_js(env, state.stubs));
        value.Set("files", files);
        value.Set("cwdExists", Napi::Boolean::New(env, state.cwd_exists));
        return value;
      });
}

// setWindowSize(fd, rows, columns)
Napi::Value set_window_size(const Napi::CallbackInfo& info) {
  winsize size{};
  size.ws_row = static_cast<unsigned short>(info[1].As<Napi::Number>().Uint32Value());
  size.ws_col = static_cast<unsigned short>(info[2].As<Napi::Number>().Uint32Value());
  if (ioctl(info[0].As<Napi::Number>().Int32Value(), TIOCSWINSZ, &size) < 0) throw to_js_error(info.Env(), {"ioctl TIOCSWINSZ", errno});
  return info.Env().Undefined();
}

struct Done {};

Napi::Value undefined(Napi::Env env, Done&) { return env.Undefined(); }

// makeWorkingDir(root, cwd, uid, gid): Promise<void>
Napi::Value make_working_dir(const Napi::CallbackInfo& info) {
  return run_job<Done>(
      info.Env(),
      [root = info[0].As<Napi::String>().Utf8Value(), cwd = info[1].As<Napi::String>().Utf8Value(),
       uid = info[2].As<Napi::Number>().Uint32Value(), gid = info[3].As<Napi::Number>().Uint32Value()] {
        runtime::make_working_dir(root, cwd, uid, gid);
        return Done{};
      },
      undefined);
}

// removeStubs(root, stubs): Promise<void>
Napi::Value remove_stubs(const Napi::CallbackInfo& info) {
  return run_job<Done>(
      info.Env(),
      [root = info[0].As<Napi::String>().Utf8Value(), stubs = string_list(info[1])] {
        runtime::remove_stubs(root, stubs);
        return Done{};
      },
      undefined);
}

Napi::Value kernel_has_x32(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), runtime::kernel_has_x32());
}

}  // namespace

void export_runtime(Napi::Env env, Napi::Object exports) {
  exports.Set("spawnProcess", Napi::Function::New(env, spawn_process));
  exports.Set("setWindowSize", Napi::Function::New(env, set_window_size));
  exports.Set("prepareRootfs", Napi::Function::New(env, prepare_rootfs));
  exports.Set("makeWorkingDir", Napi::Function::New(env, make_working_dir));
  exports.Set("removeStubs", Napi::Function::New(env, remove_stubs));
  exports.Set("kernelHasX32", Napi::Function::New(env, kernel_has_x32));
}

}  // namespace obd
