// Conversion of ordinary OCI layers to overlaybd layers, pipelined with their download, each chain of
// layers once a store. Knows tars and snapshots; where bytes come from is its caller's business.
export { convertLayers, type ConvertOptions, type LayerProgress } from './convert.js';
