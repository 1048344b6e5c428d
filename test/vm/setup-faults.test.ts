// Setting up a device fails at any step of it: the caller is told, nothing of the device stays, and the next
// one works. The faults are system calls of the device server that fail, by strace.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import test from 'ava';
import { startDeviceServer, type DeviceKind, type DeviceServer } from '../../src/device/index.js';
import { layersDirectory } from '../../src/device/leftovers.js';
import { makePlace, removePlace, serverProcesses, type Place } from '../integration/helpers/device.js';
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

/** Attaches a disk while the nth such call of each of the server's threads fails. The calls that did, and how it ended. */
async function attachWithFault(server: DeviceServer, place: Place, call: string, nth: number): Promise<{ readonly failed: string[]; readonly error: string | undefined }> {
	const [pid = ''] = await serverProcesses(place);
	const log = path.join(place.root, 'strace');
	const strace = spawn('strace', ['-f', '-p', pid, '-o', log, '-e', `trace=${call}`, '-e', 'signal=none', '-e', `inject=${call}:error=EIO:when=${nth}`], { stdio: ['ignore', 'ignore', 'pipe'] });
	await once(strace.stderr, 'data'); // it has attached itself
	const error = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes }).then(
		(device) => device.detach().then(() => undefined),
		(failure: unknown) => (failure as Error).message,
	);
	const ended = once(strace, 'exit');
	strace.kill('SIGINT');
	await ended;
	const lines = (await readFile(log, 'utf8')).split('\n');
	return { failed: lines.filter((line) => line.includes('(INJECTED)')), error };
}

for (const kind of lastingKinds) {
	test(`${kind}: nothing stays of a device that could not be set up`, async (t) => {
		const place = await makePlace(kind);
		const server = await startDeviceServer(place);
		for (const [call, count] of faults[kind]) {
			for (let nth = 1; nth <= count; nth++) {
				const { failed, error } = await attachWithFault(server, place, call, nth);
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
