// Cache import and export: what a build knows, for other builders. A cache is a manifest with block layers and
// a config in BuildKit's format, in a registry, in a client's directory, or inside an image's config.
export { encodeConfig, type CacheEntry } from './config.js';
export { cacheExportName, exportCache, type CacheExportContext } from './export.js';
export { ImportedCache, cacheImportName, type CacheImportContext, type ImportedRecord } from './import.js';
export { cacheExport, cacheImport, type CacheExport, type CacheImport, type CacheRequest } from './options.js';
