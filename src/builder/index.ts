// The builder: one build from request to result, with everything it needs wired together: frontend, solver,
// ops on snapshots, exporters, store, device server. Used by cli/ and control/; nothing points back to it.
export { Build, type BuildOptions } from './build.js';
export { Builder, type BuilderOptions, type LazyReadOptions } from './builder.js';
export { convertImage, mountImage, openImage, recordTrace, runImage, type OpenedImage, type RecordOptions, type RunOptions } from './image-access.js';
export { downloadLayers, type DownloadedLayer, type DownloadOptions } from './layer-download.js';
export type { BuildRequest, BuildResult, CacheRequest, Exported, ExportRequest, SecretRequest } from './request.js';
export type { PredicateRecord } from './provenance/index.js';
export type { UsageRecord } from './usage.js';
