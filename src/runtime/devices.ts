// Device nodes an insecure step finds in /dev beside runc's own.
import { access, readdir } from 'node:fs/promises';

export interface Device {
	readonly path: string;
	readonly type: 'b' | 'c';
	readonly major: number;
	readonly minor: number;
}

const characterDevices: readonly Device[] = [
	{ path: '/dev/kmsg', type: 'c', major: 1, minor: 11 },
	{ path: '/dev/cuse', type: 'c', major: 10, minor: 203 },
	{ path: '/dev/fuse', type: 'c', major: 10, minor: 229 },
	{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 },
	{ path: '/dev/net/tun', type: 'c', major: 10, minor: 200 },
	{ path: '/dev/loop-control', type: 'c', major: 10, minor: 237 },
];

const loopMajor = 7;
/** How many loop devices beyond the first free one a step may use. */
const spareLoops = 7;

/** The host's special devices and its loop devices with some to spare. */
export async function insecureDevices(): Promise<readonly Device[]> {
	const last = (await firstFreeLoop()) + spareLoops;
	const loops = Array.from({ length: last + 1 }, (_, minor): Device => ({ path: `/dev/loop${minor}`, type: 'b', major: loopMajor, minor }));
	return [...characterDevices, ...loops];
}

async function firstFreeLoop(): Promise<number> {
	const loops = new Set((await readdir('/sys/block').catch(() => [])).filter((name) => /^loop\d+$/.test(name)));
	for (let index = 0; ; index++) {
		if (!loops.has(`loop${index}`)) return index;
		const used = await access(`/sys/block/loop${index}/loop/backing_file`).then(() => true, () => false);
		if (!used) return index;
	}
}
