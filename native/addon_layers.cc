#include "addon.h"

namespace obd {
void export_layers(Napi::Env, Napi::Object) {}
}  // namespace obd
