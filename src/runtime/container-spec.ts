// What a caller says about a container: plain values, in BuildKit's terms.
import type { Writable } from 'node:stream';

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

/** A process in a container, beside what is said of the container. */
export interface ProcessSpec {
	readonly args: readonly string[];
	/** `NAME=value`; a later entry replaces an earlier one of the same name. */
	readonly env: readonly string[];
	/** Made (0755, owned by the user) when missing. */
	readonly cwd: string;
	/** As in `USER`: '', `name`, `uid`, `user:group`; looked up in the root's own /etc/passwd and /etc/group. */
	readonly user: string;
	/** What it reads; default nothing. A terminal is its stdout and stderr too. */
	readonly input?: 'none' | 'pipe' | 'terminal';
	/** Empty or absent: only 0. */
	readonly validExitCodes?: readonly number[];
	/** Kills it. */
	readonly signal?: AbortSignal;
	/** All output, in order, before `run` settles. 1 stdout, 2 stderr. */
	readonly onOutput?: (stream: 1 | 2, data: Uint8Array) => void;
	/** Called once it is about to run. */
	readonly onStart?: (process: ContainerProcess) => void;
}

/** A process that runs. */
export interface ContainerProcess {
	/** Its standard input, where it has one. */
	readonly input: Writable | undefined;
	/** Sends a signal by number. */
	kill(signal: number): void;
	/** Of a terminal. */
	resize(rows: number, columns: number): void;
}

/** A container that runs: what else can be started in it. */
export interface RunningContainer extends ContainerProcess {
	/** Runs another process in it, as `Runtime.run` does the first. Waits until the first one has started. */
	exec(spec: ProcessSpec & { readonly security: SecurityMode }): Promise<void>;
}

export interface ContainerSpec extends Omit<ProcessSpec, 'onStart'> {
	/** A mounted, writable directory. What runc needs as mount points is made in it and removed afterwards. */
	readonly rootfs: string;
	/** Makes `/` read-only for the process. */
	readonly readonlyRootfs?: boolean;
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
	/** Called once it is about to run. */
	readonly onStart?: (container: RunningContainer) => void;
}
