// System calls that block or that Node does not have. Each runs on a thread of its own, so a device that
// does not answer never stops anything else of this process. Errors carry `code` (EBUSY, ...) and name
// the call and its target.
import { closeSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { nativeAddon } from './index.js';

interface SystemAddon {
	mount(source: string, target: string, type: string, flags: number, data: string): Promise<void>;
	umount(target: string, detach: boolean): Promise<void>;
	syncfs(path: string): Promise<void>;
	freeze(path: string): Promise<void>;
	thaw(path: string): Promise<void>;
	listLoopDevices(): Promise<LoopStatus[]>;
	clearLoopDevice(number: number): Promise<void>;
	lockFile(path: string): Promise<number | undefined>;
	trimMemory(): Promise<void>;
	keepLittleMemory(): void;
}

const addon = (): SystemAddon => nativeAddon() as SystemAddon;

/** Words of mount(8) that are flags of mount(2): set, or (second table) cleared. */
const setFlags: Readonly<Record<string, number>> = {
	ro: 0x1, nosuid: 0x2, nodev: 0x4, noexec: 0x8, sync: 0x10, remount: 0x20, dirsync: 0x80, nosymfollow: 0x100,
	noatime: 0x400, nodiratime: 0x800, bind: 0x1000, rbind: 0x5000, silent: 0x8000, unbindable: 0x20000, runbindable: 0x24000,
	private: 0x40000, rprivate: 0x44000, slave: 0x80000, rslave: 0x84000, shared: 0x100000, rshared: 0x104000,
	relatime: 0x200000, strictatime: 0x1000000, lazytime: 0x2000000,
};
const clearFlags: Readonly<Record<string, number>> = {
	rw: 0x1, suid: 0x2, dev: 0x4, exec: 0x8, async: 0x10, atime: 0x400, diratime: 0x800, defaults: 0,
};

/**
 * mount(2). `options` are comma-separated words as for mount(8) (`ro,noatime,discard`); those that are no
 * general flags go to the file system. As in mount(2), a change of propagation (`private`) and a `bind` are
 * calls of their own, and `bind` ignores `ro` until a `remount,bind,ro`.
 */
export function mount(source: string, target: string, type: string, options = ''): Promise<void> {
	let flags = 0;
	const data: string[] = [];
	for (const word of options.split(',').filter((word) => word !== '')) {
		if (setFlags[word] !== undefined) flags |= setFlags[word];
		else if (clearFlags[word] !== undefined) flags &= ~clearFlags[word];
		else data.push(word);
	}
	return addon().mount(source, target, type, flags, data.join(','));
}

/** umount2(2) without following a symlink at `target`. `detach` takes it away even while it is in use. */
export function umount(target: string, options: { readonly detach?: boolean } = {}): Promise<void> {
	return addon().umount(target, options.detach ?? false);
}

/** `umount` of what may be unmounted already, or gone. */
export async function umountIfMounted(target: string, options: { readonly detach?: boolean } = {}): Promise<void> {
	try {
		await umount(target, options);
	} catch (error) {
		if (!(error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'ENOENT'))) throw error;
	}
}

/** Mounts below `target` (a mount point) reach no other mount namespace, and none of theirs come here. */
export function makePrivate(target: string): Promise<void> {
	return mount('none', target, '', 'rprivate');
}

/** Writes back the file system that holds `path`; fails when any of its pages could not be written. */
export function syncfs(path: string): Promise<void> {
	return addon().syncfs(path);
}

/** Stops the writers of the file system mounted at `path` and makes its device consistent, until `thaw`. */
export function freeze(path: string): Promise<void> {
	return addon().freeze(path);
}

export function thaw(path: string): Promise<void> {
	return addon().thaw(path);
}

export interface LoopStatus {
	/** N of /dev/loopN. */
	readonly number: number;
	/** The label its owner gave it, else the path of the backing file; 63 bytes at most. */
	readonly label: string;
}

/** The loop devices that are bound. */
export function listLoopDevices(): Promise<LoopStatus[]> {
	return addon().listLoopDevices();
}

/** Unbinds a loop device, at once or when its last user closes it. */
export function clearLoopDevice(number: number): Promise<void> {
	return addon().clearLoopDevice(number);
}

export interface FileLock {
	/** The descriptor that holds the lock; a child that inherits it holds the lock too. */
	readonly fd: number;
	release(): Promise<void>;
}

/** Takes an exclusive lock on a file, created if need be; undefined when another holds it. The lock ends with its holders. */
export async function tryLockFile(path: string): Promise<FileLock | undefined> {
	const fd = await addon().lockFile(path);
	if (fd === undefined) return undefined;
	let released = false;
	return {
		fd,
		release: () => {
			if (!released) closeSync(fd);
			released = true;
			return Promise.resolve();
		},
	};
}

export interface MountEntry {
	/** `major:minor` of the file system's device. */
	readonly device: string;
	/** What of the file system is mounted; `/` unless it is a bind mount. */
	readonly root: string;
	readonly mountPoint: string;
	readonly type: string;
	readonly source: string;
}

/** Mounts of this process's namespace, in the order they were mounted. */
export async function readMounts(): Promise<MountEntry[]> {
	return parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));
}

/** proc_pid_mountinfo(5). */
export function parseMountInfo(text: string): MountEntry[] {
	const entries: MountEntry[] = [];
	for (const line of text.split('\n')) {
		const [left, right] = line.split(' - ');
		if (left === undefined || right === undefined) continue;
		const [, , device, root, mountPoint] = left.split(' ');
		const [type, source] = right.split(' ');
		if (device === undefined || root === undefined || mountPoint === undefined || type === undefined) continue;
		entries.push({ device, root: unescape(root), mountPoint: unescape(mountPoint), type, source: unescape(source ?? '') });
	}
	return entries;
}

/** The kernel writes space, tab, newline and backslash as three octal digits. */
function unescape(field: string): string {
	return field.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** When a process started, in clock ticks since boot (with its pid, an identity); undefined when it is gone or a zombie. */
export async function processStartTime(pid: number): Promise<number | undefined> {
	let stat: string;
	try {
		stat = await readFile(`/proc/${pid}/stat`, 'utf8');
	} catch {
		return undefined;
	}
	// The command name, in parentheses, may hold anything.
	const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
	return fields[0] === 'Z' || fields[0] === 'X' ? undefined : Number(fields[19]);
}

/** From now on malloc keeps little of what is freed at once, on whatever thread (mallopt(3)); `trimMemory` reaches only the first thread's. */
export function keepLittleMemory(): void {
	addon().keepLittleMemory();
}

/** Gives the system back what malloc keeps of freed memory (malloc_trim(3)). */
export function trimMemory(): Promise<void> {
	return addon().trimMemory();
}
