// Snapshots: chains of overlaybd layers, mounted on demand. Knows how a step gets a mounted file system
// to work on and how what it wrote becomes a sealed layer; knows nothing of images or build graphs.
// The only user of the device room.
export type { RemoteLayer } from './live-mount.js';
export type { TraceStore } from './traces.js';
export { blobsOf, scratch, sealedLayers, snapshotOf, type Layer, type LayerBlob, type LayerOrigin, type SealedLayer, type Snapshot, type TurboInfo } from './layer.js';
export { SnapshotManager, type LayerStore, type ReadMount, type SnapshotOptions, type WritableMount } from './manager.js';
