#include "addon.h"

namespace obd {
void export_files(Napi::Env, Napi::Object) {}
}  // namespace obd
