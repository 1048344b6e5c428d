// What a device costs: its start, attach, seal and detach, and fio on it as a share of a plain loop device
// with direct I/O on the same disk as a raw file, in the same run. Root.
//   node dist/test/bench/device.js [auto|ublk|tcmu|fuse]
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { buildMountOptions, makeFileSystem, startDeviceServer, type Device, type DeviceKind, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { flatten } from '../../src/native/layers.js';
import { mount, syncfs, umount } from '../../src/native/system.js';

const run = promisify(execFile);
const kind = (process.argv[2] ?? 'auto') as DeviceKind | 'auto';
const layerCount = 10;
const layerBytes = 64 * 2 ** 20;
const diskBytes = 2 * 2 ** 30;
const seconds = 4;

const jobs = [
	{ name: 'random read 4 KiB, depth 1', rw: 'randread', depth: 1, block: '4k' },
	{ name: 'random read 4 KiB, depth 32', rw: 'randread', depth: 32, block: '4k' },
	{ name: 'sequential read 128 KiB, depth 8', rw: 'read', depth: 8, block: '128k' },
	{ name: 'random write 4 KiB, depth 32', rw: 'randwrite', depth: 32, block: '4k' },
] as const;

const times = new Map<string, number[]>();

async function timed<T>(what: string, body: () => Promise<T>): Promise<T> {
	const start = performance.now();
	const result = await body();
	times.set(what, [...(times.get(what) ?? []), performance.now() - start]);
	return result;
}

interface FioResult {
	readonly iops: number;
	readonly megabytes: number;
}

async function fio(device: string, job: (typeof jobs)[number]): Promise<FioResult> {
	const args = ['--name=bench', `--filename=${device}`, '--direct=1', '--ioengine=libaio', `--rw=${job.rw}`, `--iodepth=${job.depth}`,
		`--bs=${job.block}`, `--size=${layerCount * layerBytes}`, `--runtime=${seconds}`, '--time_based', '--randseed=1', '--output-format=json'];
	const { stdout } = await run('fio', args, { cwd: tmpdir() });
	const { read, write } = (JSON.parse(stdout) as { jobs: [{ read: { iops: number; bw: number }; write: { iops: number; bw: number } }] }).jobs[0];
	return { iops: read.iops + write.iops, megabytes: (read.bw + write.bw) / 1024 };
}

/** Half random, half text-like: compresses to about a half, as programs do. */
function layerData(): Buffer {
	const data = Buffer.alloc(layerBytes, 'all work and no play makes a dull disk; ');
	for (let at = 0; at < layerBytes; at += 8192) randomFillSync(data, at, 4096);
	return data;
}

/** The layers as one disk: raw ranges of the device, one a layer. */
async function makeLayers(server: DeviceServer, directory: string): Promise<LowerLayer[]> {
	const device = await timed('attach, empty', () => server.attach({ lowers: [], writable: true, virtualSize: diskBytes }));
	const lowers: LowerLayer[] = [];
	for (let n = 0; n < layerCount; n++) {
		const file = await open(device.path, 'r+');
		await file.write(layerData(), 0, layerBytes, n * layerBytes);
		await file.sync();
		await file.close();
		const frozen = await timed('seal', () => device.seal());
		const blob = path.join(directory, `layer${n}`);
		const committed = await timed('commit of 64 MiB', async () => frozen?.commit({ path: blob, uuid: '00000000-0000-4000-8000-000000000001' }));
		await frozen?.release();
		lowers.push({ kind: 'blob', digest: committed?.digest ?? '', size: committed?.size ?? 0, path: blob });
	}
	await timed('detach', () => device.detach());
	return lowers;
}

/** One step's life on a mounted file system. */
async function stepTimes(server: DeviceServer, mountPoint: string): Promise<void> {
	const device = await server.attach({ lowers: [], writable: true, virtualSize: 64 * 2 ** 30 });
	await timed('make a 64 GiB file system', () => makeFileSystem(device.path));
	await timed('mount', () => mount(device.path, mountPoint, 'ext4', buildMountOptions(true)));
	for (let n = 0; n < 20; n++) {
		await run('sh', ['-c', `echo ${n} > ${mountPoint}/file${n}`]);
		await timed('sync and live seal of a small step', async () => {
			await syncfs(mountPoint);
			await (await device.seal())?.release();
		});
	}
	await timed('unmount', () => umount(mountPoint));
	await device.detach();
}

async function serverMemory(directory: string): Promise<string> {
	const { stdout } = await run('pgrep', ['-f', `server-main.js.*${directory}`]);
	return /VmRSS:\s+(\d+)/.exec(await readFile(`/proc/${stdout.split('\n')[0]}/status`, 'utf8'))?.[1] ?? '0';
}

async function bench(directory: string): Promise<void> {
	const mountPoint = path.join(directory, 'mnt');
	await mkdir(mountPoint);
	const server = await timed('start of the server', () => startDeviceServer({ root: directory, instanceDir: path.join(directory, 'run', 'bench'), deviceKind: kind }));
	const lowers = await makeLayers(server, directory);
	await stepTimes(server, mountPoint);

	const raw = path.join(directory, 'raw');
	await flatten(lowers.map((lower) => (lower.kind === 'blob' ? lower.path : '')), raw);
	const loop = (await run('losetup', ['--find', '--show', '--direct-io=on', raw])).stdout.trim();
	const attach = (writable: boolean): Promise<Device> => timed(`attach, ${layerCount} layers`, () => server.attach({ lowers, writable }));
	const device = await attach(true);
	const results: string[] = [];
	for (const job of jobs) {
		const limit = await fio(loop, job);
		const own = await fio(device.path, job);
		results.push(`${job.name.padEnd(34)} ${own.iops.toFixed(0).padStart(8)} ${own.megabytes.toFixed(0).padStart(7)} ${limit.iops.toFixed(0).padStart(8)} ${limit.megabytes.toFixed(0).padStart(7)} ${(own.iops / limit.iops).toFixed(2).padStart(6)}`);
	}
	console.log(`device server on ${device.path}, ${await serverMemory(directory)} KiB resident\n`);
	await device.detach();
	await run('losetup', ['--detach', loop]);
	await server.close();

	for (const [what, values] of times) {
		const sorted = [...values].sort((a, b) => a - b);
		console.log(`${what.padEnd(38)} ${(sorted[Math.floor(sorted.length / 2)] ?? 0).toFixed(1).padStart(8)} ms${values.length > 1 ? ` (median of ${values.length})` : ''}`);
	}
	console.log(`\n${layerCount} lz4 layers of 64 MiB`.padEnd(35), '   IOPS    MB/s  loop IOPS  MB/s  share');
	console.log(results.join('\n'));
}

const directory = await mkdtemp(path.join(tmpdir(), 'obd-bench-'));
try {
	await bench(directory);
} finally {
	await rm(directory, { recursive: true, force: true });
}
