// The distribution client: the only room that speaks HTTP to a registry. Resolves references, reads
// manifests and blobs (whole, resumed, or a range), pushes them in parallel, and knows who may log in
// where. `new RegistryClient()` is the way in. Its transport (connections, proxies, certificates) serves other web
// servers too.
export * from './client.js';
export * from './credentials.js';
export * from './errors.js';
export * from './hosts.js';
export * from './lazy.js';
export * from './push.js';
export * from './repository.js';
export * from './retry.js';
export * from './blob-source.js';
export { resolveImage, type ImageDocuments } from './resolve.js';
export { Transport, type HttpResponse } from './transport.js';
