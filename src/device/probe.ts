// Which device servers this host can use, and what the others lack.
import { execFile } from 'node:child_process';
import { constants } from 'node:fs';
import { access, open, readFile, stat, writeFile } from 'node:fs/promises';
import { release } from 'node:os';
import { promisify } from 'node:util';
import { deviceAddon, type DeviceKind } from '../native/device.js';
import { mount } from '../native/system.js';

const run = promisify(execFile);

export interface DeviceProbe {
	readonly kind: DeviceKind;
	/** What this host lacks to use it; absent when it works. */
	readonly missing?: string;
}

/**
 * The fastest first, by measurement (test/vm/bench, Linux 6.12 under emulation; IOPS, and in brackets the share of
 * a loop device on a raw file):
 *                                ublk          tcmu          fuse
 *   4 KiB random read, depth 1  12608 (3.27)   9867 (2.67)   2613 (0.63)
 *   4 KiB random read, depth 32 58225 (1.95)  34634 (1.11)  19599 (0.63)
 *   128 KiB in order, depth 1    4865 (1.38)   3486 (1.05)   1867 (0.58)
 *   128 KiB in order, depth 8    7752 (0.50)   7127 (0.46)   5918 (0.38)
 *   4 KiB random write, depth 32 20286 (1.57)  16016 (1.27)   8955 (0.60)
 */
const order: readonly DeviceKind[] = ['ublk', 'tcmu', 'fuse'];

/** A device server, or `auto` for the fastest that works. */
export type DeviceChoice = DeviceKind | 'auto';

const probes: Readonly<Record<DeviceKind, () => Promise<void>>> = { ublk: probeUblk, tcmu: probeTcmu, fuse: probeFuse };

/** Looks at every device server, the fastest first. Loads the kernel modules they need, where there are any. */
export function probeDevices(): Promise<DeviceProbe[]> {
	return Promise.all(order.map(probe));
}

/**
 * The device server to use: the one wanted, or for `auto` the fastest that works. Fails with what is missing.
 */
export async function chooseDevice(wanted: DeviceChoice): Promise<DeviceKind> {
	const lacking: string[] = [];
	for (const kind of wanted === 'auto' ? order : [wanted]) {
		const { missing } = await probe(kind);
		if (missing === undefined) return kind;
		lacking.push(`${kind}: ${missing}`);
	}
	throw new Error(wanted === 'auto' ? `no device server works here:\n${lacking.join('\n')}` : `device server ${lacking.join('')}`);
}

async function probe(kind: DeviceKind): Promise<DeviceProbe> {
	try {
		await probes[kind]();
		return { kind };
	} catch (error) {
		return { kind, missing: error instanceof Error ? error.message : String(error) };
	}
}

async function probeFuse(): Promise<void> {
	if (!(await exists('/dev/fuse'))) await loadModule('fuse');
	if (!(await exists('/dev/loop-control'))) await loadModule('loop');
	await mayOpen('/dev/fuse');
	await mayOpen('/dev/loop-control');
}

async function probeUblk(): Promise<void> {
	if (!(await exists('/dev/ublk-control'))) await loadModule('ublk_drv');
	await mayOpen('/dev/ublk-control');
	await deviceAddon().checkUblk();
}

const configfs = '/sys/kernel/config';

async function probeTcmu(): Promise<void> {
	if (!(await exists(configfs))) await loadModule('configfs');
	for (const module of ['target_core_user', 'tcm_loop', 'sd_mod']) await loadModule(module);
	await useTwoQueues();
	if (!(await exists(`${configfs}/target`))) await mount('configfs', configfs, 'configfs');
	await access(`${configfs}/target/core`, constants.W_OK);
}

/**
 * What a SCSI target with a single queue has read, the kernel gives to one more thread before the reader is woken; with
 * two, whoever brings it goes on. The setting is of all targets to come, so it is left alone when somebody has chosen
 * another than the default. Linux has it from 5.13 on.
 */
async function useTwoQueues(): Promise<void> {
	const setting = '/sys/module/tcm_loop/parameters/nr_hw_queues';
	if ((await exists(setting)) && (await readFile(setting, 'latin1')).trim() === '1') await writeFile(setting, '2');
}

/** Loads a module unless the kernel has it already. */
async function loadModule(name: string): Promise<void> {
	if (await exists(`/sys/module/${name}`)) return;
	const lacking = `the kernel module ${name} is missing`;
	if (!(await exists(`/lib/modules/${release()}/modules.dep`))) throw new Error(`${lacking}: there are no modules for Linux ${release()}`);
	try {
		await run('modprobe', [name], { env: { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` } });
	} catch (error) {
		const { stderr, code } = error as { stderr?: string; code?: string };
		throw new Error(`${lacking}: ${code === 'ENOENT' ? 'modprobe was not found, install kmod' : (stderr ?? '').trim()}`, { cause: error });
	}
}

async function mayOpen(path: string): Promise<void> {
	try {
		await (await open(path, 'r+')).close();
	} catch (error) {
		throw new Error(`${path} cannot be opened: ${(error as Error).message}`, { cause: error });
	}
}

function exists(path: string): Promise<boolean> {
	return stat(path).then(
		() => true,
		() => false,
	);
}
