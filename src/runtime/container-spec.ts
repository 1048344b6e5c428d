// What a caller says about a container: plain values, in BuildKit's terms.

/**
 * `none`: a network namespace with nothing but loopback. `host`: the host's. `default`: the host's too, as
 * buildkitd does it where no CNI network is configured; only resolv.conf differs (see resolv-conf.ts).
 */
export type NetworkMode = 'default' | 'none' | 'host';

/** `insecure`: all capabilities, no seccomp, writable /sys and cgroups, devices (`RUN --security=insecure`). */
export type SecurityMode = 'sandbox' | 'insecure';

export interface ContainerMount {
	/** Absolute path in the container. A default mount with the same destination (`/dev/shm`) gives way. */
	readonly destination: string;
	readonly type: 'bind' | 'tmpfs';
	/** Host path of a bind mount, `tmpfs` otherwise. */
	readonly source: string;
	/** As runc takes them: `rbind`, `ro`, `nosuid`, `size=65536`, ... */
	readonly options: readonly string[];
}

export interface Ulimit {
	/** Lower or upper case, without `RLIMIT_`: `nofile`. */
	readonly name: string;
	/** -1: unlimited. */
	readonly soft: number;
	readonly hard: number;
}

export interface ContainerSpec {
	/** A mounted, writable directory. What runc needs as mount points is made in it and removed afterwards. */
	readonly rootfs: string;
	/** Makes `/` read-only for the process. */
	readonly readonlyRootfs?: boolean;
	readonly args: readonly string[];
	/** `NAME=value`; a later entry replaces an earlier one of the same name. */
	readonly env: readonly string[];
	/** Made (0755, owned by the user) when missing. */
	readonly cwd: string;
	/** As in `USER`: '', `name`, `uid`, `user:group`; looked up in the root's own /etc/passwd and /etc/group. */
	readonly user: string;
	/** '' or absent: `buildkitsandbox`. */
	readonly hostname?: string;
	/** Parents before what lies inside them. */
	readonly mounts: readonly ContainerMount[];
	readonly network: NetworkMode;
	readonly security: SecurityMode;
	readonly extraHosts: readonly { readonly host: string; readonly ip: string }[];
	readonly ulimits: readonly Ulimit[];
	/** '' or absent: a parent of this builder instance. */
	readonly cgroupParent?: string;
	/** Removes also the parent directories that were made for a mount point. */
	readonly removeMountStubsRecursive?: boolean;
	/** Empty or absent: only 0. */
	readonly validExitCodes?: readonly number[];
	/** Kills the container. */
	readonly signal?: AbortSignal;
	/** All output, in order, before `run` settles. 1 stdout, 2 stderr. */
	readonly onOutput?: (stream: 1 | 2, data: Uint8Array) => void;
}
