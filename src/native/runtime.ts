// The native side of the runtime room: child processes and the root file system around a container run.
// Everything that touches a root file system runs on a thread of its own: its device may block.
import { nativeAddon } from './index.js';

export interface ProcessExit {
	/** Exit code; -1 when a signal ended the process. */
	readonly code: number;
	/** Signal number; 0 when the process exited by itself. */
	readonly signal: number;
}

/** What a process reads: nothing, a pipe, or a terminal of its own, which is its stdout (and stderr) too. */
export type ProcessInput = 'none' | 'pipe' | 'terminal';

export interface RunningProcess {
	readonly pid: number;
	/** Descriptor of our end of the pipe or terminal; the caller closes it. */
	readonly input?: number;
	/** Settles when the process has ended and all its output was delivered. */
	readonly exited: Promise<ProcessExit>;
}

export interface MountPoint {
	/** Absolute path in the root. */
	readonly path: string;
	/** Host path of a bind mount, '' for a file system of its own. */
	readonly source: string;
}

export interface RootfsState {
	/** Mount points (and their parents) that were made, to be handed to `removeStubs`. */
	readonly stubs: readonly string[];
	/** Contents in the order asked for; undefined when missing, not a regular file or over 10 MiB. */
	readonly files: readonly (Buffer | undefined)[];
	readonly cwdExists: boolean;
}

interface RuntimeAddon {
	spawnProcess(argv: readonly string[], env: readonly string[], input: ProcessInput, onOutput: (stream: 1 | 2, data: Buffer) => void): RunningProcess;
	setWindowSize(fd: number, rows: number, columns: number): void;
	prepareRootfs(root: string, mountPoints: readonly MountPoint[], recursive: boolean, files: readonly string[], cwd: string): Promise<RootfsState>;
	makeWorkingDir(root: string, cwd: string, uid: number, gid: number): Promise<void>;
	removeStubs(root: string, stubs: readonly string[]): Promise<void>;
	kernelHasX32(): boolean;
}

const addon = (): RuntimeAddon => nativeAddon() as RuntimeAddon;

/**
 * Starts a program without copying this process's page tables: in its own session, nothing inherited but its
 * standard streams, SIGKILL when this process dies. `argv[0]` is searched in the PATH of `env`
 * (`NAME=value` entries). Throws an error with `code` (ENOENT, EACCES, ...) when it cannot be started.
 * `onOutput` must not throw; a slow one slows the process down.
 */
export function spawnProcess(argv: readonly string[], env: readonly string[], onOutput: (stream: 1 | 2, data: Buffer) => void, input: ProcessInput = 'none'): RunningProcess {
	return addon().spawnProcess(argv, env, input, onOutput);
}

/** Tells the process on a terminal how big that is now. */
export function setWindowSize(terminal: number, rows: number, columns: number): void {
	addon().setWindowSize(terminal, rows, columns);
}

/**
 * Readies a root file system for a container: makes what is missing of the mount points, directories keeping
 * their times, and reads what the caller needs to know. A mount point that cannot be made is left to runc.
 */
export function prepareRootfs(options: {
	readonly root: string;
	readonly mountPoints: readonly MountPoint[];
	/** Whether parents made for a mount point count as stubs too, or stay. */
	readonly recursive: boolean;
	/** Small files to read, symlinks resolved inside the root. */
	readonly files: readonly string[];
	readonly cwd: string;
}): Promise<RootfsState> {
	return addon().prepareRootfs(options.root, options.mountPoints, options.recursive, options.files, options.cwd);
}

/** Makes a directory and its missing parents (0755), symlinks resolved inside the root. */
export function makeWorkingDir(root: string, cwd: string, uid: number, gid: number): Promise<void> {
	return addon().makeWorkingDir(root, cwd, uid, gid);
}

/** Removes those stubs that are empty still and gives their parents the times back. */
export function removeStubs(root: string, stubs: readonly string[]): Promise<void> {
	return addon().removeStubs(root, stubs);
}

/** Whether the kernel serves the x32 system call table. */
export function kernelHasX32(): boolean {
	return addon().kernelHasX32();
}
