// The store: content-addressed blobs, the metadata database, leases, garbage collection, and the
// directories of running processes. One directory, safe to use by several processes at once, consistent
// after a kill -9 at any moment.
export * from './blobs.js';
export * from './collector.js';
export * from './errors.js';
export * from './instances.js';
export * from './leases.js';
export * from './records.js';
export * from './refs.js';
export * from './store.js';
export { Table, type Transaction } from './database.js';
