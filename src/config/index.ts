// The configuration file: buildkitd.toml, so that a host set up for buildkitd is set up for obd. Reads the
// parts that mean something here and names what it cannot read; what to do with them is its caller's business.
export { parseConfig, readConfig, type Config, type Dns, type GrpcConfig, type HistoryConfig, type WorkerConfig } from './config.js';
export { defaultGcPolicies, type DiskUsage, type GcConfig, type GcPolicy } from './gc.js';
export { readProvenanceEnv } from './provenance-env.js';
export { bytesOf, parseDuration, type DiskSpace } from './quantities.js';
