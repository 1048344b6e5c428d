// What a read of a local block costs the server's threads, whichever of them answers it: no allocation, and no lock that
// queues share. Seen from outside, with probes on the libc that they use.
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { copyFile, open, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import test from 'ava';
import type { Device, DeviceServer, LowerLayer } from '../../src/device/index.js';
import { makePlace, removePlace, withServer, type Place } from '../integration/helpers/device.js';
import { allLeftovers, kinds } from './helpers/kernel.js';
import { Probes, type Calls } from './helpers/probes.js';

type LayerFile = Extract<LowerLayer, { kind: 'blob' }>;

const run = promisify(execFile);
const diskBytes = 32 * 2 ** 20;
// A thread that had nothing to do before gets its buffers in a later one, which takes a lock of the dynamic linker as well.
const rounds = 10;
const allocators = ['malloc', 'calloc', 'realloc', 'posix_memalign', 'aligned_alloc', 'memalign'];
const locks = ['pthread_mutex_lock', 'pthread_rwlock_rdlock', 'pthread_rwlock_wrlock'];

/** Half random, half text: programs compress like that. */
function content(bytes: number): Buffer {
	const data = Buffer.alloc(bytes, 'all work and no play makes a dull disk; ');
	for (let at = 0; at < bytes; at += 8192) randomFillSync(data, at, 4096);
	return data;
}

async function write(device: Device, data: Buffer, offset: number): Promise<void> {
	const file = await open(device.path, 'r+');
	await file.write(data, 0, data.length, offset);
	await file.sync();
	await file.close();
}

/** Two sealed layers, bottom first. */
async function makeLayers(server: DeviceServer, place: Place): Promise<LayerFile[]> {
	const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
	const lowers: LayerFile[] = [];
	for (let n = 0; n < 2; n++) {
		await write(device, content(diskBytes / 2), n * (diskBytes / 4));
		const frozen = await device.seal();
		if (!frozen) throw new Error('a seal without a condition gave nothing');
		const file = path.join(place.root, `layer${n}`);
		lowers.push({ kind: 'blob', path: file, ...(await frozen.commit({ path: file, uuid: '11111111-2222-4333-8444-555555555555' })) });
		await frozen.release();
	}
	await device.detach();
	return lowers;
}

interface Disks {
	readonly inMemory: readonly Device[];
	/** Whose layers no large read has mapped: what is mapped does not leave memory. */
	readonly onDisk: readonly Device[];
}

/** Reads on several disks at once: block by block, many blocks, many large pieces, and what has left memory. */
async function readAll(disks: Disks, place: Place): Promise<void> {
	const jobs = [
		{ devices: disks.inMemory, rw: 'randread', bs: '4k', iodepth: 1, reads: 300, before: 'true' },
		{ devices: disks.inMemory, rw: 'randread', bs: '4k', iodepth: 32, reads: 1000, before: 'true' },
		{ devices: disks.inMemory, rw: 'read', bs: '128k', iodepth: 8, reads: 400, before: 'true' },
		{ devices: disks.onDisk, rw: 'randread', bs: '4k', iodepth: 8, reads: 200, before: 'sh -c "echo 1 >/proc/sys/vm/drop_caches"' },
	];
	const lines = ['[global]', 'direct=1', 'ioengine=libaio', 'thread', `size=${diskBytes}`, 'randseed=1'];
	for (const [n, job] of jobs.entries()) {
		for (const [d, device] of job.devices.entries()) {
			lines.push(`[${n}-${d}]`, ...(d === 0 ? ['stonewall', `exec_prerun=${job.before}`] : []), `filename=${device.path}`, `rw=${job.rw}`, `bs=${job.bs}`,
				`iodepth=${job.iodepth}`, `io_size=${job.reads * parseInt(job.bs, 10)}k`);
		}
	}
	const file = path.join(place.root, 'jobs.fio');
	await writeFile(file, lines.join('\n'));
	await run('fio', ['--output=/dev/null', file], { cwd: place.root });
}

/** The locks that threads of two queues have taken. */
function shared(calls: readonly Calls[], queue: string): string[] {
	const takers = new Map<string, Set<number>>();
	for (const { thread, pid, argument } of calls) {
		if (thread === queue) takers.set(argument, (takers.get(argument) ?? new Set()).add(pid));
	}
	return [...takers].filter(([, pids]) => pids.size > 1).map(([lock, pids]) => `${lock} by ${[...pids].join(', ')}`);
}

for (const kind of kinds) {
	test(`${kind}: reads of local blocks allocate nothing and take no lock that queues share`, async (t) => {
		const place = await makePlace(kind);
		const allocations = await Probes.set(allocators), taken = await Probes.set(locks), waiting = await Probes.set(['pread64']);
		try {
			await withServer(place, async (server) => {
				const lowers = await makeLayers(server, place);
				const attach = (): Promise<Device> => server.attach({ lowers, writable: true });
				const attachCopy = async (n: number): Promise<Device> => {
					const copies = lowers.map((lower) => ({ ...lower, digest: '', path: `${lower.path}-${n}` }));
					for (const [l, copy] of copies.entries()) await copyFile(lowers[l]?.path ?? '', copy.path);
					return server.attach({ lowers: copies, writable: true });
				};
				const disks: Disks = { inMemory: [await attach(), await attach()], onDisk: [await attachCopy(0), await attachCopy(1)] };
				const devices = [...disks.inMemory, ...disks.onDisk];
				for (const device of devices) await write(device, content(diskBytes / 8), diskBytes / 8);
				await run('sync');
				await readAll(disks, place);
				let allocating: Calls[] = [], both: string[] = [];
				for (let round = 0; round < rounds; round++) {
					await allocations.clear();
					await taken.clear();
					await waiting.clear();
					await readAll(disks, place);
					const all = await allocations.calls();
					t.true(all.some(({ thread }) => thread.startsWith('fio')), 'what others allocate is seen');
					allocating = all.filter(({ thread }) => /^obd-/.test(thread));
					const own = (await taken.calls()).filter(({ thread }) => /^obd-/.test(thread));
					if (kind !== 'fuse') {
						t.true(own.some(({ thread }) => thread === 'obd-helper'), 'large reads are given to helping threads');
						t.true((await waiting.calls()).some(({ thread }) => thread === 'obd-helper'), 'they wait for the disk');
					}
					t.true(own.some(({ thread }) => thread === `obd-${kind}`), 'the locks of the queues are seen');
					both = shared(own, `obd-${kind}`);
					t.log(`round ${round + 1}: ${allocating.reduce((sum, { count }) => sum + count, 0)} allocations, ${both.length} shared locks`);
					if (allocating.length === 0 && both.length === 0) break;
				}
				t.deepEqual({ allocating, both }, { allocating: [], both: [] });
				for (const device of devices) await device.detach();
			});
		} finally {
			await allocations.remove();
			await taken.remove();
			await waiting.remove();
		}
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});
}
