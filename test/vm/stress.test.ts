// Random reads, writes, discards and flushes against a model in memory, with live seals in between. The
// device server runs with AddressSanitizer and UBSan.
import { execFile } from 'node:child_process';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import { startDeviceServer, type Device, type DeviceKind, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { listLoopDevices } from '../../src/native/system.js';
import { makePlace, removePlace, withLayers, type Place } from '../integration/helpers/device.js';
import { allLeftovers, kinds } from './helpers/kernel.js';

const run = promisify(execFile);
const diskBytes = 64 * 2 ** 20;
const seconds = 10;
const stress = path.resolve('native/build/release/vm-stress');

/** A device server whose addon has the sanitizers in it. This process keeps the addon it has. */
async function startSanitized(place: Place): Promise<DeviceServer> {
	await listLoopDevices(); // loads it
	const library = (await run('g++', ['-print-file-name=libasan.so'])).stdout.trim();
	// Node itself leaks at its end, and its signal handling is not ASan's.
	Object.assign(process.env, { OBD_ADDON_VARIANT: 'asan', LD_PRELOAD: library, ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1:handle_segv=0' });
	try {
		return await startDeviceServer(place);
	} finally {
		for (const name of ['OBD_ADDON_VARIANT', 'LD_PRELOAD', 'ASAN_OPTIONS']) delete process.env[name];
	}
}

/** Seals the device over and over while `work` goes on. The committed layers, bottom first. */
async function sealDuring(device: Device, place: Place, work: Promise<unknown>): Promise<LowerLayer[]> {
	const lowers: LowerLayer[] = [];
	let done = false;
	const ended = work.finally(() => (done = true));
	ended.catch(() => undefined); // awaited below
	for (let isLast = false; !isLast; ) {
		isLast = done;
		const frozen = await device.seal();
		if (!frozen) throw new Error('a seal without a condition gave nothing');
		const file = path.join(place.root, `layer${lowers.length}`);
		lowers.push({ kind: 'blob', path: file, ...(await frozen.commit({ path: file, uuid: '11111111-2222-4333-8444-555555555555' })) });
		await frozen.release();
		await Promise.race([ended.catch(() => undefined), new Promise((resolve) => setTimeout(resolve, 1000))]);
	}
	await ended;
	return lowers;
}

/** The first bytes of a device or file, as many as the model has. */
async function differs(device: string, model: string): Promise<string> {
	return run('cmp', [`--bytes=${diskBytes}`, device, model]).then(() => '', (error: unknown) => String((error as { stdout: string }).stdout));
}

async function stressed(kind: DeviceKind, place: Place): Promise<{ seals: number; done: string; wrong: string[] }> {
	const server = await startSanitized(place);
	try {
		const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
		const model = path.join(place.root, 'model');
		const working = run(stress, [device.path, String(diskBytes), String(seconds), `${kind.length}`, model]);
		const lowers = await sealDuring(device, place, working);
		const wrong = [await differs(device.path, model)];
		await device.detach();
		await withLayers(server, lowers, async (sealed) => { wrong.push(await differs(sealed.path, model)); });
		return { seals: lowers.length, done: (await working).stdout.trim(), wrong };
	} finally {
		await server.close();
	}
}

for (const kind of kinds) {
	test(`${kind}: the disk holds what its model holds`, async (t) => {
		const place = await makePlace(kind);
		const { seals, done, wrong } = await stressed(kind, place);
		t.log(`${done}, ${seals} seals`);
		t.deepEqual(wrong, ['', '']);
		t.true(seals > 2, 'it was sealed meanwhile');
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});
}
