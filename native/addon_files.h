// What the files room's addon files share: JavaScript values to C++ ones and back.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "addon_job.h"
#include "files/make_dirs.h"
#include "files/task.h"
#include "files/tree.h"

namespace obd::files_addon {

using TaskPtr = std::shared_ptr<files::Task>;
using TreePtr = std::shared_ptr<files::Tree>;
using Functions = std::vector<std::pair<const char*, Napi::Value (*)(const Napi::CallbackInfo&)>>;

// The functions of addon_files_tar.cc, for export_files.
Functions tar_functions();

// What an External of ours holds.
template <typename T>
T handle(const Napi::Value& value) {
  return *value.As<Napi::External<T>>().Data();
}

std::string text(const Napi::Value& value);
std::string text_or(const Napi::Value& value, const std::string& otherwise);
std::vector<std::string> texts(const Napi::Value& value);
bool flag(const Napi::Object& object, const char* name);
// A number or bigint that fits 64 bits; nothing when the property is missing.
std::optional<int64_t> integer(const Napi::Object& object, const char* name);
std::optional<files::Owner> owner(const Napi::Object& object);

Napi::Value strings_value(Napi::Env env, const std::vector<std::string>& list);

// Work that gives nothing back.
Napi::Promise run_void(Napi::Env env, std::function<void()> work);

}  // namespace obd::files_addon
