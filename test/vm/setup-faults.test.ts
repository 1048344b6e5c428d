// Setting up a device fails at any step of it: the caller is told, nothing of the device stays, and the next
// one works. The faults are system calls of the device server that fail.
import { readdir } from 'node:fs/promises';
import test from 'ava';
import { startDeviceServer, type DeviceKind } from '../../src/device/index.js';
import { layersDirectory } from '../../src/device/leftovers.js';
import { makePlace, removePlace } from '../integration/helpers/device.js';
import { withFault } from './helpers/faults.js';
import { allLeftovers, kernelObjects, lastingKinds } from './helpers/kernel.js';

const diskBytes = 64 * 2 ** 20;

/** Calls of an attach that can fail, and up to which one of it they are tried. */
const faults: Readonly<Record<DeviceKind, readonly (readonly [call: string, count: number])[]>> = {
	// The directories of the backstore and the target; the files of the writable layer, the attributes, the ring; the link.
	tcmu: [['mkdir', 7], ['openat', 13], ['symlink', 1]],
	// The rings; the files of the writable layer; what wakes a queue.
	ublk: [['io_uring_setup', 2], ['openat', 2], ['eventfd2', 1]],
	fuse: [],
};

for (const kind of lastingKinds) {
	test(`${kind}: nothing stays of a device that could not be set up`, async (t) => {
		const place = await makePlace(kind);
		const server = await startDeviceServer(place);
		for (const [call, count] of faults[kind]) {
			for (let nth = 1; nth <= count; nth++) {
				const { failed, error } = await withFault(place, { call, when: String(nth) }, async () => {
					await (await server.attach({ lowers: [], writable: true, virtualSize: diskBytes })).detach();
				});
				const what = `${failed.join(', ')}: ${error ?? 'no error'}`;
				t.true(failed.length > 0, `${call} ${nth} was never called`);
				t.not(error, undefined, what);
				t.deepEqual(await kernelObjects(), [], what);
				t.deepEqual(await readdir(layersDirectory(place.instanceDir)), [], what);
			}
		}
		await (await server.attach({ lowers: [], writable: true, virtualSize: diskBytes })).detach();
		await server.close();
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});
}
