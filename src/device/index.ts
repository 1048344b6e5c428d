// Block devices over stacks of overlaybd layers: attach, live seal, commit, detach. All of it happens in a
// device server process of its own; this room holds that process, its client, and the cleaning up after
// both. The snapshot room is its only user.
export { startDeviceServer, DeviceServerError, type DeviceServerOptions } from './client.js';
export { buildMountOptions, makeFileSystem, type FileSystemOptions } from './file-system.js';
export { releaseDevices } from './leftovers.js';
export { probeDevices, type DeviceChoice, type DeviceProbe } from './probe.js';
export type { DeviceKind } from '../native/device.js';
export { remoteBlobs } from './remote-blobs.js';
export { within } from './within.js';
export type { BlobFetcher } from './fetcher.js';
export type { LentBlobs, LoginQuestion } from './protocol.js';
export type * from './types.js';
