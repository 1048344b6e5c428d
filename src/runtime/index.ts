// The runtime room: runs one process in a container, through runc, the way BuildKit's OCI worker does.
// The only room that starts a container; it knows root directories and mounts, not images or snapshots.
// A Runtime belongs to one running instance of the builder and keeps everything it needs in one directory.
export { Runtime } from './runtime.js';
export { recoverContainers } from './recover.js';
export type { DnsConfig } from './resolv-conf.js';
export { ExitError, failureText } from './exit-error.js';
export type { ContainerMount, ContainerProcess, ContainerSpec, NetworkMode, ProcessSpec, RunningContainer, SecurityMode, Ulimit } from './container-spec.js';
