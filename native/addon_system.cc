#include "addon.h"

namespace obd {
void export_system(Napi::Env, Napi::Object) {}
}  // namespace obd
