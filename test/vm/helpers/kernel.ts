// What a guest has for device servers, and proof that the kernel keeps nothing of them.
import { readdir } from 'node:fs/promises';
import { release } from 'node:os';
import path from 'node:path';
import type { DeviceKind } from '../../../src/device/index.js';
import { leftovers, type Place } from '../../integration/helpers/device.js';

/** Linux 6.1 of Debian has no ublk. */
export const hasUblk = !release().startsWith('6.1.');

/** The device servers that must work here, the fastest first. */
export const kinds: readonly [DeviceKind, ...DeviceKind[]] = hasUblk ? ['ublk', 'tcmu', 'fuse'] : ['tcmu', 'fuse'];

/** Those whose devices outlive their server. */
export const lastingKinds = kinds.filter((kind) => kind !== 'fuse');

export const targets = '/sys/kernel/config/target';

/** Every backstore, loopback target, ring, SCSI disk and ublk device that the kernel has, whoever made it. */
export async function kernelObjects(): Promise<string[]> {
	const adapters = (await names(path.join(targets, 'core'))).filter((name) => name.startsWith('user_'));
	const backstores = await Promise.all(adapters.map(async (adapter) => (await names(path.join(targets, 'core', adapter))).filter((name) => !name.startsWith('hba_')).map((name) => `${adapter}/${name}`)));
	return [
		...adapters,
		...backstores.flat(),
		...(await names(path.join(targets, 'loopback'))).filter((name) => name.startsWith('naa.')),
		...(await names('/sys/class/uio')),
		...(await names('/sys/class/scsi_disk')).map((name) => `SCSI disk ${name}`),
		...(await names('/sys/class/ublk-char')),
	];
}

/** What is left of a place's devices, in the kernel or elsewhere. Nothing else must use TCMU or ublk meanwhile. */
export async function allLeftovers(place: Place, connections: readonly string[] = []): Promise<string[]> {
	return [...(await leftovers(place, connections)), ...(await kernelObjects())];
}

function names(directory: string): Promise<string[]> {
	return readdir(directory).catch(() => []);
}
