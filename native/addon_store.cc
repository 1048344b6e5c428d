// The store's metadata database for TypeScript.
#include <stdexcept>

#include "addon.h"
#include "addon_job.h"
#include "store/metadata_db.h"

namespace obd {
namespace {

using ViewPtr = std::shared_ptr<MetadataView>;

MetadataView& view_of(const Napi::CallbackInfo& info) {
  ViewPtr& view = *info[0].As<Napi::External<ViewPtr>>().Data();
  if (!view) throw Napi::Error::New(info.Env(), "the database is closed");
  return *view;
}

// What a synchronous call throws, as a JavaScript error with `code`.
template <typename Body>
Napi::Value guarded(const Napi::CallbackInfo& info, Body body) {
  try {
    return body();
  } catch (const std::system_error& e) {
    throw to_js_error(info.Env(), {e.what(), e.code().value()});
  } catch (const std::length_error& e) {
    throw Napi::RangeError::New(info.Env(), e.what());
  } catch (const std::exception& e) {
    throw Napi::Error::New(info.Env(), e.what());
  }
}

// Writes come as a flat array of kind, key, value.
std::vector<MetadataWrite> read_writes(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<MetadataWrite> writes;
  writes.reserve(array.Length() / 3);
  for (uint32_t i = 0; i + 2 < array.Length(); i += 3) {
    const auto kind = static_cast<MetadataWrite::Kind>(array.Get(i).As<Napi::Number>().Uint32Value());
    writes.push_back({kind, array.Get(i + 1).As<Napi::String>(), array.Get(i + 2).As<Napi::String>()});
  }
  return writes;
}

Napi::Value metadata_open(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const std::string path = info[0].As<Napi::String>();
    auto view = std::make_unique<ViewPtr>(std::make_shared<MetadataView>(MetadataFile::open(path)));
    return Napi::External<ViewPtr>::New(info.Env(), view.release(), [](Napi::Env, ViewPtr* v) { delete v; });
  });
}

Napi::Value metadata_get(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto value = view_of(info).get(info[1].As<Napi::String>());
    return value ? Napi::Value(Napi::String::New(info.Env(), *value)) : info.Env().Undefined();
  });
}

// range(view, prefix, after, limit): a flat array of key, value
Napi::Value metadata_range(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto limit = info[3].As<Napi::Number>().Uint32Value();
    const auto entries = view_of(info).range(info[1].As<Napi::String>(), info[2].As<Napi::String>(), limit);
    Napi::Array array = Napi::Array::New(info.Env(), entries.size() * 2);
    uint32_t i = 0;
    for (const auto& [key, value] : entries) {
      array.Set(i++, key);
      array.Set(i++, value);
    }
    return array;
  });
}

// Resolves when the writes are committed. They are in line when the call returns: order is kept.
Napi::Value metadata_write(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto file = view_of(info).file();
    auto batch = file->enqueue(read_writes(info[1]));
    struct Nothing {};
    return run_job<Nothing>(
        info.Env(),
        // Lets go of the file before JavaScript hears of it, which may want it closed then.
        [file, batch]() mutable {
          const auto last = std::move(file);
          last->finish(batch);
          return Nothing{};
        },
        [](Napi::Env env, Nothing&) { return env.Undefined(); });
  });
}

template <void (MetadataView::*Method)()>
Napi::Value metadata_call(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    (view_of(info).*Method)();
    return info.Env().Undefined();
  });
}

Napi::Value metadata_apply(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    view_of(info).apply(read_writes(info[1]));
    return info.Env().Undefined();
  });
}

// The file closes when the last view of this process and the last write in line are done with it.
Napi::Value metadata_close(const Napi::CallbackInfo& info) {
  info[0].As<Napi::External<ViewPtr>>().Data()->reset();
  return info.Env().Undefined();
}

}  // namespace

void export_store(Napi::Env env, Napi::Object exports) {
  exports.Set("metadataOpen", Napi::Function::New(env, metadata_open));
  exports.Set("metadataGet", Napi::Function::New(env, metadata_get));
  exports.Set("metadataRange", Napi::Function::New(env, metadata_range));
  exports.Set("metadataWrite", Napi::Function::New(env, metadata_write));
  exports.Set("metadataBegin", Napi::Function::New(env, metadata_call<&MetadataView::begin>));
  exports.Set("metadataApply", Napi::Function::New(env, metadata_apply));
  exports.Set("metadataCommit", Napi::Function::New(env, metadata_call<&MetadataView::commit>));
  exports.Set("metadataAbort", Napi::Function::New(env, metadata_call<&MetadataView::abort>));
  exports.Set("metadataClose", Napi::Function::New(env, metadata_close));
}

}  // namespace obd
