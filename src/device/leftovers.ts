// Finds and releases what devices leave when their owner dies: a device server that does not end, mounts of
// devices, loop devices and through these the FUSE connections, ublk devices, TCMU targets. Each carries the
// label of the instance it belongs to.
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { deviceAddon } from '../native/device.js';
import { clearLoopDevice, listLoopDevices, readMounts, tryLockFile, umount, type FileLock, type MountEntry } from '../native/system.js';
import type { ServerConfig } from './protocol.js';
import { serverMain } from './server-process.js';

/** What the devices of the instance with this directory are labelled with, before `/<n>`. */
export function instanceLabel(directory: string): string {
	return `obd:${createHash('sha256').update(path.resolve(directory)).digest('hex').slice(0, 24)}`;
}

/** Where the instance's writable layers are, and what the servers of its devices keep. */
export function layersDirectory(directory: string): string {
	return path.join(path.resolve(directory), 'layers');
}

/** Milliseconds for a device server whose builder has died to end. */
const endPatience = 20_000;
/** Milliseconds that the release of one device may take. */
export const releaseTimeout = 60_000;

/**
 * Held by the builder and by every device server it starts, from the start on: free when all of them have ended.
 * Undefined when that is not so after `patience` milliseconds. `directory` is the instance's.
 */
export async function lockServer(directory: string, patience: number): Promise<FileLock | undefined> {
	const deadline = performance.now() + patience;
	for (;;) {
		const lock = await tryLockFile(path.join(directory, 'device-server.lock'));
		if (lock || performance.now() >= deadline) return lock;
		await sleep(20);
	}
}

/** Mounts of the given device nodes (`/dev/loopN`) and everything mounted below these, in mount order. */
export async function mountsOf(devicePaths: readonly string[]): Promise<MountEntry[]> {
	const numbers = new Set(await Promise.all(devicePaths.map(deviceNumber)));
	const mounts = await readMounts();
	const tops = mounts.filter((mount) => numbers.has(mount.device));
	return mounts.filter((mount) => tops.some((top) => mount === top || isBelow(top.mountPoint, mount.mountPoint)));
}

/** Unmounts everything mounted from these devices, what is busy lazily. */
export async function unmountDevices(devicePaths: readonly string[]): Promise<void> {
	if (devicePaths.length > 0) await unmountAll(await mountsOf(devicePaths));
}

/**
 * Releases everything that the devices of a dead instance have left: mounts below its directory and of its
 * devices, the devices, whatever stands behind them. `directory` is the instance's; its files stay.
 */
export async function releaseDevices(directory: string): Promise<void> {
	const isServed = !(await hasEnded(directory, 0));
	if (isServed) await endServers(path.resolve(directory));
	await releaseLeft(directory);
	if (!isServed) return;
	// It may have been in the middle of making one more, and could not end before what it has was released.
	if (!(await hasEnded(directory, endPatience))) throw new Error(`the device server of ${directory} does not end`);
	await releaseLeft(directory);
}

/** Whether no device server of the instance lives any more after `patience` milliseconds at most. */
async function hasEnded(directory: string, patience: number): Promise<boolean> {
	try {
		const lock = await lockServer(directory, patience);
		await lock?.release();
		return lock !== undefined;
	} catch (error) {
		if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return true; // it has got no directory yet
		throw error;
	}
}

/** A device server ends by itself when its builder has: one that does not is stopped, or hangs. */
async function endServers(directory: string): Promise<void> {
	for (const deadline = performance.now() + endPatience; performance.now() < deadline; await sleep(20)) {
		if ((await serversOf(directory)).length === 0) return;
	}
	for (const pid of await serversOf(directory)) kill(pid);
}

/** Those that nobody has killed: the kernel shows no command line of one that is ending. */
async function serversOf(directory: string): Promise<number[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
	const own = await Promise.all(pids.map(async (pid) => isServerOf(directory, await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))));
	return pids.filter((_, n) => own[n]);
}

/** `commandLine`: as the kernel has it, each argument ended by a zero. See server-process.ts. */
function isServerOf(directory: string, commandLine: string): boolean {
	const [, main = '', config = ''] = commandLine.split('\0');
	if (path.basename(main) !== serverMain) return false;
	try {
		return path.resolve((JSON.parse(config) as ServerConfig).directory) === directory;
	} catch {
		return false;
	}
}

function kill(pid: number): void {
	try {
		process.kill(pid, 'SIGKILL');
	} catch (error) {
		if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
	}
}

/** What there is of the instance's devices now. */
export async function releaseLeft(directory: string): Promise<void> {
	const resolved = path.resolve(directory);
	const label = instanceLabel(resolved);
	const loops = (await listLoopDevices()).filter((loop) => loop.label.startsWith(`${label}/`));
	const served = await deviceAddon().listServed(label);
	const mounted = await mountsOf([...loops.map((loop) => `/dev/loop${loop.number}`), ...served.map((device) => device.path)]);
	// Before the mounts: as long as the kernel waits for a new server, so does every unmount.
	await Promise.all(served.map(({ number }) => deviceAddon().releaseServed(`${label}/${number}`, layersDirectory(resolved), releaseTimeout)));
	await deviceAddon().releaseAdapter(label);
	await unmountAll((await readMounts()).filter((mount) => isBelow(resolved, mount.mountPoint)));
	await unmountAll(mounted.filter((mount) => !isBelow(resolved, mount.mountPoint)));
	await Promise.all(loops.map((loop) => clearLoopDevice(loop.number)));
}

/** The last mounted first: what is mounted on another goes before it. */
async function unmountAll(mounts: readonly MountEntry[]): Promise<void> {
	for (const mount of [...mounts].reverse()) {
		try {
			await umount(mount.mountPoint).catch(() => umount(mount.mountPoint, { detach: true }));
		} catch (error) {
			// Gone meanwhile, by another's hand.
			if (!(error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'ENOENT'))) throw error;
		}
	}
}

/** Empty when the device is gone. */
async function deviceNumber(devicePath: string): Promise<string> {
	return (await readFile(`/sys/class/block/${path.basename(devicePath)}/dev`, 'utf8').catch(() => '')).trim();
}

function isBelow(directory: string, candidate: string): boolean {
	return candidate.startsWith(directory === '/' ? '/' : `${directory}/`);
}
