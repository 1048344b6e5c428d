// BuildKit's gRPC services, thin: each method calls one of the rooms below. Who listens where, and with which
// builder, the command line says.
export { daemonServer, type DaemonOptions } from './daemon.js';
export { version } from './version.js';
export type { HistoryLimits } from './history.js';
export type { PrunePolicy } from './prune.js';
