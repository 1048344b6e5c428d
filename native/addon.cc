// Everything TypeScript can see of the native side, and nothing else.
#include "addon.h"

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  obd::export_layers(env, exports);
  obd::export_device(env, exports);
  obd::export_files(env, exports);
  obd::export_runtime(env, exports);
  obd::export_system(env, exports);
  obd::export_store(env, exports);
  return exports;
}
NODE_API_MODULE(obd, init)
