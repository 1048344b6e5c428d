#include "addon.h"

namespace obd {
void export_device(Napi::Env, Napi::Object) {}
}  // namespace obd
