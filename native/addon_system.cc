// System calls that block or that Node does not have: mount, sync, freeze, loop devices, flock.
#include <malloc.h>

#include "addon.h"
#include "addon_job.h"
#include "system/file_lock.h"
#include "system/loop_device.h"
#include "system/mount.h"

namespace obd {
namespace {

struct Nothing {};

Napi::Promise run(Napi::Env env, std::function<void()> work) {
  return run_job<Nothing>(
      env,
      [work = std::move(work)] {
        work();
        return Nothing{};
      },
      [](Napi::Env e, Nothing&) { return e.Undefined(); });
}

std::string text(const Napi::CallbackInfo& info, size_t index) { return info[index].As<Napi::String>(); }

// mount(source, target, type, flags, data)
Napi::Value mount(const Napi::CallbackInfo& info) {
  const auto flags = static_cast<unsigned long>(info[3].As<Napi::Number>().Int64Value());
  return run(info.Env(), [source = text(info, 0), target = text(info, 1), type = text(info, 2), flags,
                          data = text(info, 4)] { mount_fs(source, target, type, flags, data); });
}

Napi::Value umount(const Napi::CallbackInfo& info) {
  const bool detach = info[1].As<Napi::Boolean>();
  return run(info.Env(), [target = text(info, 0), detach] { unmount(target, detach); });
}

template <void (*Call)(const std::string&)>
Napi::Value on_path(const Napi::CallbackInfo& info) {
  return run(info.Env(), [path = text(info, 0)] { Call(path); });
}

Napi::Value list_loops(const Napi::CallbackInfo& info) {
  using Found = std::vector<LoopStatus>;
  return run_job<Found>(info.Env(), [] { return list_loop_devices(); },
                        [](Napi::Env env, Found& found) {
                          Napi::Array array = Napi::Array::New(env, found.size());
                          for (uint32_t i = 0; i < found.size(); ++i) {
                            Napi::Object loop = Napi::Object::New(env);
                            loop.Set("number", found[i].number);
                            loop.Set("label", found[i].label);
                            array.Set(i, loop);
                          }
                          return array;
                        });
}

Napi::Value clear_loop(const Napi::CallbackInfo& info) {
  return run(info.Env(), [number = info[0].As<Napi::Number>().Uint32Value()] { clear_loop_device(number); });
}

// Resolves to the descriptor that holds the lock, or to undefined.
Napi::Value lock_file(const Napi::CallbackInfo& info) {
  using Lock = std::optional<UniqueFd>;
  return run_job<Lock>(info.Env(), [path = text(info, 0)] { return try_lock_file(path); },
                       [](Napi::Env env, Lock& lock) -> Napi::Value {
                         if (!lock) return env.Undefined();
                         return Napi::Number::New(env, lock->release());
                       });
}

// malloc_trim(3) does not touch the free end of any heap but the first.
constexpr int kKeptFreeBytes = 1 << 20;

void keep_little_memory(const Napi::CallbackInfo&) { ::mallopt(M_TRIM_THRESHOLD, kKeptFreeBytes); }

// malloc_trim(3). Takes milliseconds, but not of the event loop.
Napi::Value trim_memory(const Napi::CallbackInfo& info) {
  return run(info.Env(), [] { ::malloc_trim(0); });
}

}  // namespace

void export_system(Napi::Env env, Napi::Object exports) {
  exports.Set("mount", Napi::Function::New(env, mount));
  exports.Set("umount", Napi::Function::New(env, umount));
  exports.Set("syncfs", Napi::Function::New(env, on_path<sync_fs>));
  exports.Set("freeze", Napi::Function::New(env, on_path<freeze_fs>));
  exports.Set("thaw", Napi::Function::New(env, on_path<thaw_fs>));
  exports.Set("listLoopDevices", Napi::Function::New(env, list_loops));
  exports.Set("clearLoopDevice", Napi::Function::New(env, clear_loop));
  exports.Set("lockFile", Napi::Function::New(env, lock_file));
  exports.Set("trimMemory", Napi::Function::New(env, trim_memory));
  exports.Set("keepLittleMemory", Napi::Function::New(env, keep_little_memory));
}

}  // namespace obd
