// Proof that builds leave nothing behind but a whole store.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { pipeline } from 'node:stream/promises';
import { instanceLabel } from '../../../src/device/leftovers.js';
import { deviceAddon } from '../../../src/native/device.js';
import { listLoopDevices, readMounts } from '../../../src/native/system.js';
import { layoutOf } from '../../../src/runtime/layout.js';
import type { TestStore } from './obd.js';

/**
 * Everything the store's builders have left on the machine, as text: mounts, devices, processes, cgroups,
 * secrets, working and temporary files. Empty when they cleaned up.
 */
export async function leftoversOf(store: TestStore): Promise<string[]> {
	const instances = await store.instances.directories();
	const found = await Promise.all([
		mounts(store),
		devices(instances),
		processes(store),
		cgroups(instances),
		namesIn(path.join(store.root, 'run')),
		namesIn(store.tmp),
		strangeBlobs(store),
		existing(instances.map((directory) => layoutOf(path.join(directory, 'runtime')).secrets)),
	]);
	return found.flat();
}

/** Pids of the device servers of the store's builders. */
export async function deviceServers(store: TestStore): Promise<number[]> {
	return (await processesOf('server-main', store.root)).map(({ pid }) => pid);
}

/** Processes that have all of these in their command line, with blanks between its words. */
export async function processesOf(...parts: readonly string[]): Promise<{ readonly pid: number; readonly commandLine: string }[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
	const all = await Promise.all(pids.map(async (pid) => ({ pid, commandLine: (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).replaceAll('\0', ' ') })));
	return all.filter(({ commandLine }) => parts.every((part) => commandLine.includes(part)));
}

/** Blobs whose content is not what their name says. */
export async function damagedBlobs(store: TestStore): Promise<string[]> {
	const damaged: string[] = [];
	for (const name of await readdir(blobDirectory(store)).catch(() => [])) {
		const sum = createHash('sha256');
		await pipeline(createReadStream(path.join(blobDirectory(store), name)), sum);
		if (sum.digest('hex') !== name) damaged.push(name);
	}
	return damaged;
}

export function blobDirectory(store: TestStore): string {
	return path.join(store.root, 'blobs', 'sha256');
}

async function mounts(store: TestStore): Promise<string[]> {
	return (await readMounts()).filter(({ mountPoint }) => mountPoint.startsWith(`${store.directory}/`) && mountPoint !== store.root).map(({ mountPoint }) => `mount ${mountPoint}`);
}

/** Loop devices, ublk and TCMU devices that carry an instance's label. */
async function devices(instances: readonly string[]): Promise<string[]> {
	const loops = await listLoopDevices();
	const found = await Promise.all(instances.map(async (directory) => {
		const label = instanceLabel(directory);
		const own = loops.filter((loop) => loop.label.startsWith(`${label}/`)).map(({ number }) => `device /dev/loop${number}`);
		return [...own, ...(await deviceAddon().listServed(label)).map((node) => `device ${node}`)];
	}));
	return found.flat();
}

/** Builders, device servers, runc: each names the store in its command line. */
async function processes(store: TestStore): Promise<string[]> {
	return (await processesOf(store.root)).map(({ pid, commandLine }) => `process ${pid}: ${commandLine}`);
}

async function cgroups(instances: readonly string[]): Promise<string[]> {
	const hierarchies = (await readMounts()).filter(({ type }) => type === 'cgroup' || type === 'cgroup2').map(({ mountPoint }) => mountPoint);
	const names = instances.map((directory) => layoutOf(path.join(directory, 'runtime')).cgroup);
	return existing(hierarchies.flatMap((hierarchy) => names.map((name) => path.join(hierarchy, name))));
}

/** Files that are no blobs where only blobs should be. */
async function strangeBlobs(store: TestStore): Promise<string[]> {
	const names = await readdir(blobDirectory(store)).catch(() => []);
	return names.filter((name) => !/^[0-9a-f]{64}$/.test(name)).map((name) => `blob ${name}`);
}

async function namesIn(directory: string): Promise<string[]> {
	return (await readdir(directory).catch(() => [])).map((name) => path.join(directory, name));
}

async function existing(paths: readonly string[]): Promise<string[]> {
	const found = await Promise.all(paths.map((one) => access(one).then(() => [one], () => [])));
	return found.flat();
}
