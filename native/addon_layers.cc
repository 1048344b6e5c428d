// The layer functions as TypeScript sees them: src/native/layers.ts gives their types and checks options.
#include <algorithm>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "addon.h"
#include "addon_job.h"
#include "lsmt/commit.h"
#include "lsmt/flatten.h"
#include "lsmt/inspect.h"
#include "zfile/payload.h"

namespace obd {
namespace {

unsigned all_cores() { return std::max(1u, std::thread::hardware_concurrency()); }

std::string text(const Napi::Value& value) { return value.As<Napi::String>().Utf8Value(); }

std::string text_or_empty(const Napi::Object& object, const char* key) {
  const Napi::Value value = object.Get(key);
  return value.IsString() ? text(value) : std::string();
}

unsigned threads_of(const Napi::Object& options) {
  const Napi::Value value = options.Get("threads");
  return value.IsNumber() ? value.As<Napi::Number>().Uint32Value() : all_cores();
}

bool flag_or(const Napi::Object& options, const char* key, bool otherwise) {
  const Napi::Value value = options.Get(key);
  return value.IsBoolean() ? value.As<Napi::Boolean>().Value() : otherwise;
}

LayerFiles layer_files(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  return {text_or_empty(object, "path"), text_or_empty(object, "index"), text_or_empty(object, "target")};
}

ZFileOptions zfile_options(const Napi::Object& options) {
  ZFileOptions z;
  if (text_or_empty(options, "algorithm") == "zstd") z.algorithm = ZFileAlgorithm::zstd;
  const Napi::Value block_size = options.Get("blockSize");
  if (block_size.IsNumber()) z.block_size = block_size.As<Napi::Number>().Uint32Value();
  z.threads = threads_of(options);
  return z;
}

// Builds a plain object; 64-bit numbers become JavaScript numbers, flags hexadecimal text.
class ObjectBuilder {
 public:
  explicit ObjectBuilder(Napi::Env env) : env_(env), object_(Napi::Object::New(env)) {}
  ObjectBuilder& set(const char* key, uint64_t value) { return put(key, Napi::Number::New(env_, static_cast<double>(value))); }
  ObjectBuilder& set(const char* key, bool value) { return put(key, Napi::Boolean::New(env_, value)); }
  ObjectBuilder& set(const char* key, const std::string& value) { return put(key, Napi::String::New(env_, value)); }
  ObjectBuilder& set_flags(const char* key, uint64_t value) {
    char hex[20];
    std::snprintf(hex, sizeof hex, "0x%llx", static_cast<unsigned long long>(value));
    return set(key, std::string(hex));
  }
  ObjectBuilder& put(const char* key, Napi::Value value) {
    object_.Set(key, value);
    return *this;
  }
  Napi::Object done() const { return object_; }

 private:
  Napi::Env env_;
  Napi::Object object_;
};

Napi::Value tar_to_js(Napi::Env env, const TarReport& r) {
  return ObjectBuilder(env).set("payloadOffset", r.payload_offset).set("payloadSize", r.payload_size).done();
}

Napi::Value zfile_to_js(Napi::Env env, const ZFileReport& r) {
  return ObjectBuilder(env)
      .set("algorithm", r.algorithm)
      .set("blockSize", uint64_t{r.block_size})
      .set("blocks", r.blocks)
      .set("originalSize", r.original_size)
      .set("storedSize", r.stored_size)
      .set("indexOffset", r.index_offset)
      .set_flags("headerFlags", r.header_flags)
      .set_flags("trailerFlags", r.trailer_flags)
      .set("completedHeader", r.completed_header)
      .set("digests", r.digests)
      .set("blockChecksums", r.block_checksums)
      .done();
}

Napi::Value lsmt_to_js(Napi::Env env, const LsmtReport& r) {
  return ObjectBuilder(env)
      .set("uuid", r.uuid)
      .set("parentUuid", r.parent_uuid)
      .set("userTag", r.user_tag)
      .set("virtualSize", r.virtual_size)
      .set_flags("headerFlags", r.header_flags)
      .set_flags("trailerFlags", r.trailer_flags)
      .set("indexOffset", r.index_offset)
      .set("records", r.records)
      .set("padding", r.padding)
      .set("segments", r.segments)
      .set("zeroed", r.zeroed)
      .set("dataBytes", r.data_bytes)
      .set("zeroedBytes", r.zeroed_bytes)
      .done();
}

Napi::Value turbo_to_js(Napi::Env env, const TurboReport& r) {
  return ObjectBuilder(env)
      .set("target", r.target)
      .set("targetSize", r.target_size)
      .set("gzip", r.gzip)
      .set("indexEntries", r.index_entries)
      .set("plainSize", r.plain_size)
      .set("targetBytes", r.target_bytes)
      .done();
}

Napi::Value report_to_js(Napi::Env env, const LayerReport& r) {
  ObjectBuilder report(env);
  report.set("kind", r.kind).set("size", r.size);
  if (r.tar) report.put("tar", tar_to_js(env, *r.tar));
  if (r.zfile) report.put("zfile", zfile_to_js(env, *r.zfile));
  if (r.lsmt) report.put("lsmt", lsmt_to_js(env, *r.lsmt));
  if (r.turbo) report.put("turbo", turbo_to_js(env, *r.turbo));
  const Napi::Array problems = Napi::Array::New(env, r.problems.size());
  for (uint32_t i = 0; i < r.problems.size(); i++) problems.Set(i, r.problems[i]);
  return report.put("problems", problems).done();
}

// inspectLayer({path, index?, target?}, {threads?})
Napi::Value inspect_layer_js(const Napi::CallbackInfo& info) {
  return run_job<LayerReport>(
      info.Env(),
      [files = layer_files(info[0]), threads = threads_of(info[1].As<Napi::Object>())] { return inspect_layer(files, threads); },
      [](Napi::Env env, LayerReport& r) { return report_to_js(env, r); });
}

// flatten([{path, index?, target?}], out, {threads?})
Napi::Value flatten_js(const Napi::CallbackInfo& info) {
  std::vector<LayerFiles> layers;
  const auto array = info[0].As<Napi::Array>();
  for (uint32_t i = 0; i < array.Length(); i++) layers.push_back(layer_files(array.Get(i)));
  return run_job<FlattenResult>(
      info.Env(),
      [layers = std::move(layers), out = text(info[1]), threads = threads_of(info[2].As<Napi::Object>())] {
        return flatten(layers, out, threads);
      },
      [](Napi::Env env, FlattenResult& r) {
        return ObjectBuilder(env).set("size", r.size).set("written", r.written).done();
      });
}

// commitLayerFile({path, index?, target?}, out, {uuid?, parentUuid?, userTag?, compress?, tar?, algorithm?, blockSize?, threads?})
Napi::Value commit_layer_js(const Napi::CallbackInfo& info) {
  const auto js = info[2].As<Napi::Object>();
  CommitOptions options;
  options.zfile.reset();
  if (flag_or(js, "compress", true)) options.zfile = zfile_options(js);
  options.tar = flag_or(js, "tar", true);
  options.uuid = text_or_empty(js, "uuid");
  if (js.Get("parentUuid").IsString()) options.parent_uuid = text(js.Get("parentUuid"));
  options.user_tag = text_or_empty(js, "userTag");
  return run_job<CommitResult>(
      info.Env(),
      [files = layer_files(info[0]), out = text(info[1]), options] { return commit(*open_local_layer(files), options, out); },
      [](Napi::Env env, CommitResult& r) {
        return ObjectBuilder(env)
            .set("digest", r.digest)
            .set("size", r.size)
            .set("segments", r.segments)
            .set("dataBytes", r.data_bytes)
            .done();
      });
}

// compressFile(from, to, {tar?, algorithm?, blockSize?, threads?})
Napi::Value compress_file_js(const Napi::CallbackInfo& info) {
  const auto js = info[2].As<Napi::Object>();
  ZFileOptions options = zfile_options(js);
  options.completed_header = false;
  return run_job<uint64_t>(
      info.Env(),
      [from = text(info[0]), to = text(info[1]), options, tar = flag_or(js, "tar", false)] {
        return compress_file(from, to, options, tar);
      },
      [](Napi::Env env, uint64_t& size) { return Napi::Number::New(env, static_cast<double>(size)); });
}

// decompressFile(from, to)
Napi::Value decompress_file_js(const Napi::CallbackInfo& info) {
  return run_job<uint64_t>(
      info.Env(), [from = text(info[0]), to = text(info[1])] { return decompress_file(from, to); },
      [](Napi::Env env, uint64_t& size) { return Napi::Number::New(env, static_cast<double>(size)); });
}

}  // namespace

void export_layers(Napi::Env env, Napi::Object exports) {
  exports.Set("inspectLayer", Napi::Function::New(env, inspect_layer_js));
  exports.Set("flatten", Napi::Function::New(env, flatten_js));
  exports.Set("commitLayerFile", Napi::Function::New(env, commit_layer_js));
  exports.Set("compressFile", Napi::Function::New(env, compress_file_js));
  exports.Set("decompressFile", Napi::Function::New(env, decompress_file_js));
}

}  // namespace obd
