// What tests with real devices need: a place for a builder's files, file system checks, and proof that
// nothing stays behind. Needs root.
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { buildMountOptions, startDeviceServer, type Device, type DeviceKind, type DeviceServer, type FrozenLayer, type LowerLayer } from '../../../src/device/index.js';
import { instanceLabel } from '../../../src/device/leftovers.js';
import { listLoopDevices, mount, readMounts, syncfs, umount } from '../../../src/native/system.js';

const run = promisify(execFile);

export const gibibyte = 2 ** 30;

/** A store directory with one instance, and where a test mounts. */
export interface Place {
	readonly root: string;
	readonly instanceDir: string;
	/** An existing, empty directory. */
	readonly mountPoint: string;
	/** The device server of the tests. */
	readonly deviceKind: DeviceKind;
}

export async function makePlace(deviceKind: DeviceKind = 'fuse'): Promise<Place> {
	const root = await mkdtemp(path.join(tmpdir(), 'obd-device-'));
	const place = { root, instanceDir: path.join(root, 'run', 'test'), mountPoint: path.join(root, 'mnt'), deviceKind };
	await mkdir(place.mountPoint);
	await mkdir(place.instanceDir, { recursive: true });
	return place;
}

export async function removePlace(place: Place): Promise<void> {
	await rm(place.root, { recursive: true, force: true });
}

/** Runs `body` with a device server, and closes that whatever happens. */
export async function withServer<T>(place: Place, body: (server: DeviceServer) => Promise<T>): Promise<T> {
	const server = await startDeviceServer(place);
	try {
		return await body(server);
	} finally {
		await server.close();
	}
}

/** Attaches `lowers` read-only, and detaches whatever happens. */
export async function withLayers<T>(server: DeviceServer, lowers: readonly LowerLayer[], body: (device: Device) => Promise<T>): Promise<T> {
	const device = await server.attach({ lowers, writable: false });
	try {
		return await body(device);
	} finally {
		await device.detach();
	}
}

/** Runs `body` with the device mounted. */
export async function withMount<T>(device: Device, mountPoint: string, writable: boolean, body: () => Promise<T>): Promise<T> {
	await mount(device.path, mountPoint, 'ext4', buildMountOptions(writable));
	try {
		return await body();
	} finally {
		await umount(mountPoint);
	}
}

/** Seals what was written to a mounted device. */
export async function sealMounted(device: Device, mountPoint: string): Promise<FrozenLayer> {
	await syncfs(mountPoint);
	const frozen = await device.seal();
	if (!frozen) throw new Error('seal without a condition gave nothing');
	return frozen;
}

/** Everything `e2fsck -fn` has to say against a device or image; empty when the file system is clean. */
export async function fsckProblems(device: string): Promise<string[]> {
	let output: string;
	try {
		output = (await run('e2fsck', ['-fn', device])).stdout;
	} catch (error) {
		output = `exit status ${String((error as { code?: unknown }).code)}\n${(error as { stdout: string }).stdout}`;
	}
	const expected = /^(Pass [1-5]: .*|.*: \d+\/\d+ files \([0-9.]+% non-contiguous\), \d+\/\d+ blocks|)$/;
	return output.split('\n').filter((line) => !expected.test(line));
}

/** Of a file's or device's content; several times as fast as sha256sum. */
export async function sha256(file: string): Promise<string> {
	return (await run('openssl', ['dgst', '-sha256', '-r', file])).stdout.split(' ')[0] ?? '';
}

/** Numbers of the FUSE connections under the instance's loop devices. */
export async function fuseConnections(instanceDir: string): Promise<string[]> {
	const { stdout } = await run('losetup', ['--list', '--noheadings', '--output', 'NAME,BACK-MAJ:MIN']);
	const own = new Set((await ownLoops(instanceDir)).map((number) => `/dev/loop${number}`));
	return stdout.split('\n').flatMap((line) => {
		const [name, device] = line.trim().split(/\s+/);
		return name !== undefined && own.has(name) ? [device?.split(':')[1] ?? ''] : [];
	});
}

/**
 * What of the instance's devices is still there: mounts, loop devices, its server process, working files,
 * and the given FUSE connections. Empty once everything is released.
 */
export async function leftovers(place: Place, connections: readonly string[] = []): Promise<string[]> {
	const mounts = (await readMounts()).filter((entry) => entry.mountPoint.startsWith(`${place.root}/`)).map((entry) => `mount ${entry.mountPoint}`);
	const loops = (await ownLoops(place.instanceDir)).map((number) => `/dev/loop${number}`);
	const files = (await readdir(path.join(place.instanceDir, 'layers')).catch(() => [])).map((name) => `file ${name}`);
	// The kernel ends a connection a moment after its last file was closed, by a worker of its own.
	const isAlive = async (): Promise<string[]> => (await aliveConnections(place)).filter((connection) => connections.includes(connection));
	let alive = await isAlive();
	for (let tries = 0; tries < 50 && alive.length > 0; tries++) {
		await sleep(100);
		alive = await isAlive();
	}
	return [...mounts, ...loops, ...files, ...(await serverProcesses(place)), ...alive.map((c) => `fuse connection ${c}`)];
}

async function ownLoops(instanceDir: string): Promise<number[]> {
	const label = instanceLabel(instanceDir);
	return (await listLoopDevices()).filter((loop) => loop.label.startsWith(`${label}/`)).map((loop) => loop.number);
}

/** Pids (as text) of device servers of this place. */
export async function serverProcesses(place: Place): Promise<string[]> {
	const found: string[] = [];
	for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
		const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
		if (commandLine.includes('server-main.js') && commandLine.includes(place.instanceDir)) found.push(pid);
	}
	return found;
}

/** The control file system of FUSE lists the connections that exist. */
async function aliveConnections(place: Place): Promise<string[]> {
	const dir = path.join(place.root, 'fusectl');
	await mkdir(dir, { recursive: true });
	await mount('none', dir, 'fusectl');
	try {
		return await readdir(dir);
	} finally {
		await umount(dir);
	}
}

/** Waits until `condition` holds. What does not become true in a minute never will: then the test has failed. */
export async function until(condition: () => Promise<boolean>): Promise<void> {
	const deadline = performance.now() + 60_000;
	while (!(await condition())) {
		if (performance.now() > deadline) throw new Error(`waited for a minute, and it is still not so: ${String(condition)}`);
		await new Promise((resolve) => setTimeout(resolve, 20));
	}
}
