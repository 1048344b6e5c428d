// Runs a piece of native work on a thread of its own and settles a JavaScript promise with it.
// libuv's pool is never used: a job that blocks on a device must not starve file or DNS calls.
#pragma once
#include <napi.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

namespace obd {

// What a failed job tells JavaScript: message, and `code`/`errno` when the cause was a system call.
struct JobError {
  std::string message;
  int errnum = 0;
};

inline Napi::Error to_js_error(Napi::Env env, const JobError& e) {
  Napi::Error err = Napi::Error::New(env, e.message);
  if (e.errnum != 0) {
    err.Value().Set("errno", Napi::Number::New(env, e.errnum));
    err.Value().Set("code", Napi::String::New(env, strerrorname_np(e.errnum) ? strerrorname_np(e.errnum) : "UNKNOWN"));
  }
  return err;
}

// What std::thread throws where a limit of threads is reached.
inline JobError no_thread(const std::system_error& e) {
  return {std::string("cannot start a thread: ") + e.what(), e.code().value()};
}

// `work` runs off the main thread and returns a plain C++ value; `convert` runs on the main thread
// and turns it into a JavaScript value. An exception from `work` rejects the promise, as does a thread that
// cannot be started.
template <typename Result>
Napi::Promise run_job(Napi::Env env, std::function<Result()> work,
                      std::function<Napi::Value(Napi::Env, Result&)> convert) {
  struct Outcome {
    std::unique_ptr<Result> value;
    std::unique_ptr<JobError> error;
  };
  auto deferred = std::make_shared<Napi::Promise::Deferred>(Napi::Promise::Deferred::New(env));
  Napi::ThreadSafeFunction tsfn = Napi::ThreadSafeFunction::New(
      env, Napi::Function::New(env, [](const Napi::CallbackInfo&) {}), "obd job", 0, 1);
  auto run = [=]() mutable {
    auto outcome = std::make_unique<Outcome>();
    try {
      outcome->value = std::make_unique<Result>(work());
    } catch (const std::system_error& e) {
      outcome->error = std::make_unique<JobError>(JobError{e.what(), e.code().value()});
    } catch (const std::exception& e) {
      outcome->error = std::make_unique<JobError>(JobError{e.what(), 0});
    }
    tsfn.BlockingCall(outcome.release(), [deferred, convert](Napi::Env cb_env, Napi::Function, Outcome* raw) {
      std::unique_ptr<Outcome> done(raw);
      if (cb_env == nullptr) return;  // the environment is being torn down
      Napi::HandleScope scope(cb_env);
      if (done->error) {
        deferred->Reject(to_js_error(cb_env, *done->error).Value());
      } else {
        deferred->Resolve(convert(cb_env, *done->value));
      }
    });
    tsfn.Release();
  };
  try {
    std::thread(std::move(run)).detach();
  } catch (const std::system_error& e) {
    tsfn.Release();
    deferred->Reject(to_js_error(env, no_thread(e)).Value());
  }
  return deferred->Promise();
}

}  // namespace obd
