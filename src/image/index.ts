// Images as plain immutable values: references, platforms, descriptors, manifests, configs, digests.
// Parses what registries send (never trusting it), writes the JSON BuildKit would write, imports no
// other room.
export * from './config.js';
export * from './descriptor.js';
export * from './digest.js';
export * from './history.js';
export * from './json.js';
export * from './manifest.js';
export * from './media-types.js';
export * from './overlaybd.js';
export * from './platform.js';
export * from './platform-match.js';
export * from './reference.js';
