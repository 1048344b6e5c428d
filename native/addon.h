// What each room exports to TypeScript. One addon_<room>.cc a room registers that room's functions
// on `exports`; addon.cc calls them all and holds nothing else.
#pragma once
#include <napi.h>

namespace obd {
void export_layers(Napi::Env env, Napi::Object exports);  // zfile, lsmt: inspect, flatten, commit
void export_device(Napi::Env env, Napi::Object exports);  // stacks, device servers, remote blobs
void export_files(Napi::Env env, Napi::Object exports);   // scan, checksum, copy, tar
void export_runtime(Napi::Env env, Napi::Object exports);  // child processes, a container's root file system
void export_system(Napi::Env env, Napi::Object exports);  // mount, umount, syncfs, freeze, loop, flock
void export_store(Napi::Env env, Napi::Object exports);  // the metadata database
}  // namespace obd
