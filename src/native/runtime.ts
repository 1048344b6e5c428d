// The native side of the runtime room: child processes and the root file system around a container run.
// Everything that touches a root file system runs on a thread of its own: its device may block.
import { nativeAddon } from './index.js';

export interface ProcessExit {
	/** Exit code; -1 when a signal ended the process. */
	readonly code: number;
	/** Signal number; 0 when the process exited by itself. */
	readonly signal: number;
}

export interface RunningProcess {
	readonly pid: number;
	/** Settles when the process has ended and all its output was delivered. */
	readonly exited: Promise<ProcessExit>;
}

export interface RootfsState {
	/** What does not exist of the mount points (and their parents): children before parents. */
	readonly missing: readonly string[];
	/** Contents in the order asked for; undefined when missing, not a regular file or over 10 MiB. */
	readonly files: readonly (Buffer | undefined)[];
	readonly cwdExists: boolean;
}

interface RuntimeAddon {
	spawnProcess(argv: readonly string[], env: readonly string[], onOutput: (stream: 1 | 2, data: Buffer) => void): RunningProcess;
	inspectRootfs(root: string, stubs: readonly string[], recursive: boolean, files: readonly string[], cwd: string): Promise<RootfsState>;
	makeWorkingDir(root: string, cwd: string, uid: number, gid: number): Promise<void>;
	removeStubs(root: string, missing: readonly string[]): Promise<void>;
	kernelHasX32(): boolean;
}

const addon = (): RuntimeAddon => nativeAddon() as RuntimeAddon;

/**
 * Starts a program without copying this process's page tables: in its own session, stdin /dev/null, nothing
 * else inherited, SIGKILL when this process dies. `argv[0]` is searched in the PATH of `env`
 * (`NAME=value` entries). Throws an error with `code` (ENOENT, EACCES, ...) when it cannot be started.
 * `onOutput` must not throw; a slow one slows the process down.
 */
export function spawnProcess(argv: readonly string[], env: readonly string[], onOutput: (stream: 1 | 2, data: Buffer) => void): RunningProcess {
	return addon().spawnProcess(argv, env, onOutput);
}

/** What a root file system holds before a container runs on it; see native/runtime/rootfs.h. */
export function inspectRootfs(options: {
	readonly root: string;
	/** Paths that will be mount points. */
	readonly stubs: readonly string[];
	/** Whether missing parents of the stubs are listed too. */
	readonly recursive: boolean;
	/** Small files to read, symlinks resolved inside the root. */
	readonly files: readonly string[];
	readonly cwd: string;
}): Promise<RootfsState> {
	return addon().inspectRootfs(options.root, options.stubs, options.recursive, options.files, options.cwd);
}

/** Makes a directory and its missing parents (0755), symlinks resolved inside the root. */
export function makeWorkingDir(root: string, cwd: string, uid: number, gid: number): Promise<void> {
	return addon().makeWorkingDir(root, cwd, uid, gid);
}

/** Removes those stubs that are empty now and gives their parents the times back. */
export function removeStubs(root: string, missing: readonly string[]): Promise<void> {
	return addon().removeStubs(root, missing);
}

/** Whether the kernel serves the x32 system call table. */
export function kernelHasX32(): boolean {
	return addon().kernelHasX32();
}
