// The device server's face to TypeScript. Layers and devices are numbers; everything that may block is a
// promise with a thread of its own; fetches and faults come as calls of the two functions given at start.
#include <stdexcept>

#include "addon.h"
#include "addon_job.h"
#include "device/device_host.h"
#include "device/device_label.h"
#include "device/tcmu_device.h"
#include "device/ublk_control.h"
#include "device/ublk_device.h"
#include "system/io_thread.h"

namespace obd {
namespace {

// One a process, from start to exit: serving threads use it until the very end.
DeviceHost* host_instance = nullptr;

DeviceHost& host(Napi::Env env) {
  if (host_instance == nullptr) throw Napi::Error::New(env, "startDeviceHost was not called");
  return *host_instance;
}

std::string text(const Napi::Value& value) { return value.As<Napi::String>(); }
uint64_t number(const Napi::Value& value) { return static_cast<uint64_t>(value.As<Napi::Number>().Int64Value()); }
Napi::Value to_number(Napi::Env env, uint64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

std::optional<WritableFiles> writable_files(const Napi::Value& value) {
  if (value.IsUndefined()) return std::nullopt;
  const auto object = value.As<Napi::Object>();
  return WritableFiles{text(object.Get("data")), text(object.Get("index"))};
}

Napi::ThreadSafeFunction listener(Napi::Env env, const Napi::Value& function, const char* name) {
  Napi::ThreadSafeFunction tsfn = Napi::ThreadSafeFunction::New(env, function.As<Napi::Function>(), name, 0, 1);
  tsfn.Unref(env);
  return tsfn;
}

Napi::Object fetch_to_js(Napi::Env env, const FetchRequest& request) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", to_number(env, request.id));
  object.Set("digest", request.digest);
  object.Set("source", request.source);
  object.Set("blobSize", to_number(env, request.blob_size));
  object.Set("offset", to_number(env, request.offset));
  object.Set("length", to_number(env, request.length));
  object.Set("again", Napi::Boolean::New(env, request.again));
  return object;
}

// What a fault tells JavaScript, taken apart on the thread where it happened.
struct FaultReport {
  uint64_t device;
  std::string operation, message, digest;
  uint64_t offset, length, blob_offset = 0;
};

FaultReport report_of(uint64_t device, const DeviceFault& fault) {
  FaultReport report{device, fault.operation, "unknown error", "", fault.offset, fault.length};
  try {
    std::rethrow_exception(fault.error);
  } catch (const FetchError& e) {
    report.message = e.what();
    report.digest = e.digest;
    report.blob_offset = e.offset;
  } catch (const std::exception& e) {
    report.message = e.what();
  }
  return report;
}

Napi::Object fault_to_js(Napi::Env env, const FaultReport& report) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("device", to_number(env, report.device));
  object.Set("operation", report.operation);
  object.Set("offset", to_number(env, report.offset));
  object.Set("length", to_number(env, report.length));
  object.Set("message", report.message);
  if (!report.digest.empty()) {
    object.Set("digest", report.digest);
    object.Set("blobOffset", to_number(env, report.blob_offset));
  }
  return object;
}

template <typename T, Napi::Object (*Convert)(Napi::Env, const T&)>
void post(Napi::ThreadSafeFunction& tsfn, T value) {
  auto message = std::make_unique<T>(std::move(value));
  const napi_status status = tsfn.NonBlockingCall(message.get(), [](Napi::Env env, Napi::Function call, T* raw) {
    const std::unique_ptr<T> owned(raw);
    if (env != nullptr) call.Call({Convert(env, *owned)});
  });
  if (status == napi_ok) message.release();  // the call owns it now
}

// startDeviceHost(onFetch, onFault, cacheDir, cacheLimit)
Napi::Value start_device_host(const Napi::CallbackInfo& info) {
  if (host_instance != nullptr) throw Napi::Error::New(info.Env(), "startDeviceHost was called before");
  set_io_flusher();
  auto on_fetch = listener(info.Env(), info[0], "obd fetch");
  auto on_fault = listener(info.Env(), info[1], "obd fault");
  host_instance = std::make_unique<DeviceHost>(
                      [on_fetch](const FetchRequest& request) mutable { post<FetchRequest, fetch_to_js>(on_fetch, request); },
                      [on_fault](uint64_t device, const DeviceFault& fault) mutable {
                        post<FaultReport, fault_to_js>(on_fault, report_of(device, fault));
                      })
                      .release();
  host_instance->set_cache(text(info[2]), number(info[3]));
  return info.Env().Undefined();
}

Napi::Value open_layer_file(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<uint64_t>(info.Env(), [&h, digest = text(info[0]), path = text(info[1])] { return h.open_file(digest, path); },
                           [](Napi::Env env, uint64_t& layer) { return to_number(env, layer); });
}

// openRemoteLayer(digest, size, source)
Napi::Value open_remote_layer(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<uint64_t>(info.Env(),
                           [&h, digest = text(info[0]), size = number(info[1]), source = text(info[2])] {
                             return h.open_remote(digest, size, source);
                           },
                           [](Napi::Env env, uint64_t& layer) { return to_number(env, layer); });
}

// verifyLayer(layer)
Napi::Value verify_layer(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<bool>(info.Env(),
                       [&h, layer = number(info[0])] {
                         h.verify(layer);
                         return true;
                       },
                       [](Napi::Env env, bool&) { return env.Undefined(); });
}

// {digest, size, path} or {digest, size, source}
BlobPlace blob_place(const Napi::Value& value) {
  const auto object = value.As<Napi::Object>();
  BlobPlace place{text(object.Get("digest")), number(object.Get("size")), "", ""};
  if (object.Has("path")) place.path = text(object.Get("path"));
  if (object.Has("source")) place.source = text(object.Get("source"));
  return place;
}

// openTurboLayer(archive, target)
Napi::Value open_turbo_layer(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<uint64_t>(info.Env(),
                           [&h, archive = blob_place(info[0]), target = blob_place(info[1])] {
                             return h.open_turbo(archive, target);
                           },
                           [](Napi::Env env, uint64_t& layer) { return to_number(env, layer); });
}

Napi::Value close_layer(const Napi::CallbackInfo& info) {
  host(info.Env()).close_layer(number(info[0]));
  return info.Env().Undefined();
}

DeviceKind device_kind(Napi::Env env, const std::string& name) {
  if (name == "fuse") return DeviceKind::fuse;
  if (name == "tcmu") return DeviceKind::tcmu;
  if (name == "ublk") return DeviceKind::ublk;
  throw Napi::TypeError::New(env, "\"" + name + "\" is not a kind of device: fuse, tcmu or ublk");
}

std::vector<uint64_t> numbers(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<uint64_t> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(number(array.Get(i)));
  return result;
}

Napi::Object device_to_js(Napi::Env env, const AttachedDevice& device) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("id", to_number(env, device.id));
  object.Set("path", device.path);
  object.Set("size", to_number(env, device.size));
  return object;
}

// attachDevice(kind, lowers, writable | undefined, virtualSize, label, directory, recordTrace)
Napi::Value attach_device(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  AttachRequest request;
  request.kind = device_kind(info.Env(), text(info[0]));
  request.lowers = numbers(info[1]);
  request.writable = writable_files(info[2]);
  request.virtual_size = number(info[3]);
  request.label = text(info[4]);
  request.directory = text(info[5]);
  request.record_trace = info[6].As<Napi::Boolean>();
  return run_job<AttachedDevice>(info.Env(), [&h, request = std::move(request)] { return h.attach(request); }, device_to_js);
}

// takeOverDevice(kind, lowers, writable | undefined, label, directory, firstWrite)
Napi::Value take_over_device(const Napi::CallbackInfo& info) {
  using Taken = std::optional<AttachedDevice>;
  DeviceHost& h = host(info.Env());
  TakeOverRequest request;
  request.kind = device_kind(info.Env(), text(info[0]));
  request.lowers = numbers(info[1]);
  request.writable = writable_files(info[2]);
  request.label = text(info[3]);
  request.directory = text(info[4]);
  request.first_write = number(info[5]);
  return run_job<Taken>(info.Env(), [&h, request = std::move(request)] { return h.take_over(request); },
                        [](Napi::Env env, Taken& taken) -> Napi::Value {
                          return taken ? device_to_js(env, *taken) : env.Undefined();
                        });
}

// openFrozenLayer(files, lowers)
Napi::Value open_frozen_layer(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<uint64_t>(info.Env(),
                           [&h, files = *writable_files(info[0]), lowers = numbers(info[1])] { return h.open_frozen(files, lowers); },
                           [](Napi::Env env, uint64_t& layer) { return to_number(env, layer); });
}

// sealDevice(device, next, ifWrites | undefined)
Napi::Value seal_device(const Napi::CallbackInfo& info) {
  using Sealed = std::optional<uint64_t>;
  DeviceHost& h = host(info.Env());
  const Sealed if_writes = info[2].IsUndefined() ? Sealed() : number(info[2]);
  return run_job<Sealed>(info.Env(),
                         [&h, device = number(info[0]), next = *writable_files(info[1]), if_writes] {
                           return h.seal(device, next, if_writes);
                         },
                         [](Napi::Env env, Sealed& layer) { return layer ? to_number(env, *layer) : env.Undefined(); });
}

std::chrono::milliseconds patience_of(const Napi::Value& value) { return std::chrono::milliseconds(number(value)); }

// detachDevice(device, patience)
Napi::Value detach_device(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  return run_job<bool>(info.Env(), [&h, device = number(info[0]), patience = patience_of(info[1])] { return h.detach(device, patience); },
                       [](Napi::Env env, bool& gone) { return Napi::Boolean::New(env, gone); });
}

// commitLayer(layer, path, uuid, parentUuid | undefined, former | undefined)
Napi::Value commit_layer(const Napi::CallbackInfo& info) {
  DeviceHost& h = host(info.Env());
  std::optional<std::string> parent, former;
  if (!info[3].IsUndefined()) parent = text(info[3]);
  if (!info[4].IsUndefined()) former = text(info[4]);
  return run_job<CommitResult>(info.Env(),
                               [&h, layer = number(info[0]), path = text(info[1]), uuid = text(info[2]), parent, former] {
                                 return h.commit(layer, path, uuid, parent, former);
                               },
                               [](Napi::Env env, CommitResult& result) {
                                 Napi::Object object = Napi::Object::New(env);
                                 object.Set("digest", result.digest);
                                 object.Set("size", to_number(env, result.size));
                                 object.Set("segments", to_number(env, result.segments));
                                 object.Set("dataBytes", to_number(env, result.data_bytes));
                                 return object;
                               });
}

Napi::Value device_counters(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const StackDevice::Counters counters = host(env).counters(number(info[0]));
    Napi::Object object = Napi::Object::New(env);
    object.Set("writes", to_number(env, counters.writes));
    object.Set("bytesRead", to_number(env, counters.bytes_read));
    object.Set("bytesWritten", to_number(env, counters.bytes_written));
    return object;
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(env, e.what());
  }
}

// takeTrace(device)
Napi::Value take_trace(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    const std::vector<TracedRun> runs = host(env).take_trace(number(info[0]));
    Napi::Array array = Napi::Array::New(env, runs.size());
    for (uint32_t i = 0; i < runs.size(); ++i) {
      Napi::Object object = Napi::Object::New(env);
      object.Set("digest", runs[i].digest);
      object.Set("first", to_number(env, runs[i].first));
      object.Set("count", to_number(env, runs[i].count));
      array.Set(i, object);
    }
    return array;
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(env, e.what());
  }
}

std::vector<TracedRun> runs_of(const Napi::Value& value) {
  const auto array = value.As<Napi::Array>();
  std::vector<TracedRun> runs;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const auto run = array.Get(i).As<Napi::Object>();
    runs.push_back({text(run.Get("digest")), number(run.Get("first")), number(run.Get("count"))});
  }
  return runs;
}

// prefetchDevice(device, runs)
Napi::Value prefetch_device(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    host(env).prefetch(number(info[0]), runs_of(info[1]));
    return env.Undefined();
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(env, e.what());
  }
}

// prefetchLayers(layers, runs)
Napi::Value prefetch_layers(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  try {
    host(env).prefetch_layers(numbers(info[0]), runs_of(info[1]));
    return env.Undefined();
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(env, e.what());
  }
}

Napi::Value fetched_bytes(const Napi::CallbackInfo& info) {
  Napi::Object object = Napi::Object::New(info.Env());
  for (const auto& [digest, bytes] : host(info.Env()).fetches().fetched()) object.Set(digest, to_number(info.Env(), bytes));
  return object;
}

// receiveFetch(id, bytes)
Napi::Value receive_fetch(const Napi::CallbackInfo& info) {
  const auto data = info[1].As<Napi::Uint8Array>();
  host(info.Env()).fetches().receive(number(info[0]), reinterpret_cast<const char*>(data.Data()), data.ByteLength());
  return info.Env().Undefined();
}

Napi::Value complete_fetch(const Napi::CallbackInfo& info) {
  host(info.Env()).fetches().complete(number(info[0]));
  return info.Env().Undefined();
}

Napi::Value fail_fetch(const Napi::CallbackInfo& info) {
  host(info.Env()).fetches().fail(number(info[0]), text(info[1]));
  return info.Env().Undefined();
}

// recordedTrace(device)
Napi::Value recorded_trace(const Napi::CallbackInfo& info) {
  try {
    const std::string trace = host(info.Env()).recorded_trace(number(info[0]));
    return Napi::Buffer<char>::Copy(info.Env(), trace.data(), trace.size());
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(info.Env(), e.what());
  }
}

// replayTrace(device, buffer)
Napi::Value replay_trace(const Napi::CallbackInfo& info) {
  const auto trace = info[1].As<Napi::Uint8Array>();
  try {
    host(info.Env()).replay_trace(number(info[0]), std::string(reinterpret_cast<const char*>(trace.Data()), trace.ByteLength()));
    return info.Env().Undefined();
  } catch (const std::runtime_error& e) {
    throw Napi::Error::New(info.Env(), e.what());
  }
}

// noteReads()
Napi::Value note_reads(const Napi::CallbackInfo& info) {
  host(info.Env()).note_reads();
  return info.Env().Undefined();
}

// explainReads()
Napi::Value explain_reads(const Napi::CallbackInfo& info) {
  using Blobs = std::vector<ext4::ExplainedBlob>;
  DeviceHost& h = host(info.Env());
  return run_job<Blobs>(info.Env(), [&h] { return h.explain_reads(); },
                        [](Napi::Env env, Blobs& blobs) {
                          Napi::Object result = Napi::Object::New(env);
                          for (const ext4::ExplainedBlob& blob : blobs) {
                            Napi::Array parts = Napi::Array::New(env, blob.parts.size());
                            for (uint32_t i = 0; i < blob.parts.size(); ++i) {
                              Napi::Object part = Napi::Object::New(env);
                              part.Set("path", blob.parts[i].path);
                              part.Set("bytes", to_number(env, blob.parts[i].bytes));
                              parts.Set(i, part);
                            }
                            result.Set(blob.digest, parts);
                          }
                          return result;
                        });
}

Napi::Value check_ublk(const Napi::CallbackInfo& info) {
  return run_job<bool>(info.Env(),
                       [] {
                         check_ublk_features();
                         return true;
                       },
                       [](Napi::Env env, bool&) { return env.Undefined(); });
}

DeviceLabel device_label(Napi::Env env, const std::string& text) {
  const std::optional<DeviceLabel> label = DeviceLabel::parse(text);
  if (!label) throw Napi::TypeError::New(env, "\"" + text + "\" is not a device label");
  return *label;
}

// listServed(label)
Napi::Value list_served(const Napi::CallbackInfo& info) {
  using Found = std::vector<FoundDevice>;
  return run_job<Found>(info.Env(),
                        [owner = device_label(info.Env(), text(info[0]) + "/0").owner] {
                          Found found = list_ublk_devices(owner);
                          for (FoundDevice& device : list_tcmu_devices(owner)) found.push_back(std::move(device));
                          return found;
                        },
                        [](Napi::Env env, Found& found) {
                          Napi::Array array = Napi::Array::New(env, found.size());
                          for (uint32_t i = 0; i < found.size(); ++i) {
                            Napi::Object object = Napi::Object::New(env);
                            object.Set("number", to_number(env, found[i].label.number));
                            object.Set("path", found[i].path);
                            array.Set(i, object);
                          }
                          return array;
                        });
}

// releaseAdapter(label)
Napi::Value release_adapter(const Napi::CallbackInfo& info) {
  return run_job<bool>(info.Env(),
                       [owner = device_label(info.Env(), text(info[0]) + "/0").owner] {
                         remove_tcmu_adapter(owner);
                         return true;
                       },
                       [](Napi::Env env, bool&) { return env.Undefined(); });
}

// releaseServed(deviceLabel, directory, patience)
Napi::Value release_served(const Napi::CallbackInfo& info) {
  return run_job<bool>(info.Env(),
                       [label = device_label(info.Env(), text(info[0])), directory = text(info[1]), patience = patience_of(info[2])] {
                         const Teardown teardown([label, directory](Steps& steps) {
                           release_ublk_device(label, steps);
                           release_tcmu_device(label, inflight_path(directory, label), steps);
                           return true;
                         });
                         teardown.wait(patience);
                         return teardown.result();
                       },
                       [](Napi::Env env, bool&) { return env.Undefined(); });
}

}  // namespace

void export_device(Napi::Env env, Napi::Object exports) {
  const auto set = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function));
  };
  set("startDeviceHost", start_device_host);
  set("openLayerFile", open_layer_file);
  set("openRemoteLayer", open_remote_layer);
  set("openTurboLayer", open_turbo_layer);
  set("recordedTrace", recorded_trace);
  set("replayTrace", replay_trace);
  set("verifyLayer", verify_layer);
  set("closeLayer", close_layer);
  set("attachDevice", attach_device);
  set("takeOverDevice", take_over_device);
  set("openFrozenLayer", open_frozen_layer);
  set("sealDevice", seal_device);
  set("detachDevice", detach_device);
  set("commitLayer", commit_layer);
  set("deviceCounters", device_counters);
  set("takeTrace", take_trace);
  set("prefetchDevice", prefetch_device);
  set("prefetchLayers", prefetch_layers);
  set("fetchedBytes", fetched_bytes);
  set("receiveFetch", receive_fetch);
  set("completeFetch", complete_fetch);
  set("failFetch", fail_fetch);
  set("noteReads", note_reads);
  set("explainReads", explain_reads);
  set("checkUblk", check_ublk);
  set("listServed", list_served);
  set("releaseServed", release_served);
  set("releaseAdapter", release_adapter);
}

}  // namespace obd
