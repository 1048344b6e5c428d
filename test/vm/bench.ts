// The device servers side by side on one stack of ten layers, with a plain loop device on the same disk as a
// raw file as the limit. Two steps, since a guest is slow at making layers: see test/vm/bench.
//   node dist/test/vm/bench.js prepare DIR    on the host: the layers and the raw disk
//   node dist/test/vm/bench.js run DIR        in the guest
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, open, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { probeDevices, startDeviceServer, type DeviceKind, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { flatten } from '../../src/native/layers.js';

const run = promisify(execFile);
const layerCount = 10;
const layerBytes = 32 * 2 ** 20;
const seconds = Number(process.env['OBD_BENCH_SECONDS'] ?? 4);
const ticksPerSecond = 100;

const jobs = [
	{ name: 'random read 4 KiB, depth 1', rw: 'randread', depth: 1, block: '4k' },
	{ name: 'random read 4 KiB, depth 32', rw: 'randread', depth: 32, block: '4k' },
	{ name: 'sequential read 128 KiB, depth 1', rw: 'read', depth: 1, block: '128k' },
	{ name: 'sequential read 128 KiB, depth 8', rw: 'read', depth: 8, block: '128k' },
	{ name: 'random write 4 KiB, depth 32', rw: 'randwrite', depth: 32, block: '4k' },
] as const;

const layerPath = (directory: string, n: number): string => path.join(directory, `layer${n}`);

/** Half random, half text-like: compresses to about a half, as programs do. */
function layerData(): Buffer {
	const data = Buffer.alloc(layerBytes, 'all work and no play makes a dull disk; ');
	for (let at = 0; at < layerBytes; at += 8192) randomFillSync(data, at, 4096);
	return data;
}

async function prepare(directory: string): Promise<void> {
	await mkdir(directory, { recursive: true });
	const server = await startDeviceServer({ root: directory, instanceDir: path.join(directory, 'run') });
	const device = await server.attach({ lowers: [], writable: true, virtualSize: layerCount * layerBytes });
	for (let n = 0; n < layerCount; n++) {
		const file = await open(device.path, 'r+');
		await file.write(layerData(), 0, layerBytes, n * layerBytes);
		await file.sync();
		await file.close();
		const frozen = await device.seal();
		await frozen?.commit({ path: layerPath(directory, n), uuid: '00000000-0000-4000-8000-000000000001' });
		await frozen?.release();
	}
	await device.detach();
	await server.close();
	await flatten(Array.from({ length: layerCount }, (_, n) => layerPath(directory, n)), path.join(directory, 'raw'));
}

interface Target {
	readonly name: string;
	readonly path: string;
	/** Of the server; none for the loop device. */
	readonly pid?: number;
	close(): Promise<void>;
}

async function loopTarget(raw: string): Promise<Target> {
	const device = (await run('losetup', ['--find', '--show', '--direct-io=on', raw])).stdout.trim();
	return { name: 'loop', path: device, close: async () => void (await run('losetup', ['--detach', device])) };
}

async function servedTarget(kind: DeviceKind, lowers: readonly LowerLayer[], directory: string): Promise<Target> {
	const instanceDir = path.join(directory, 'run', kind);
	const server: DeviceServer = await startDeviceServer({ root: directory, instanceDir, deviceKind: kind });
	const device = await server.attach({ lowers, writable: true });
	const { stdout } = await run('pgrep', ['-f', `server-main.js.*${instanceDir}"`]);
	return { name: kind, path: device.path, pid: Number(stdout.trim()), close: () => server.close() };
}

/** CPU seconds: of the process, and of the whole machine. */
async function cpuTimes(pid: number | undefined): Promise<{ own: number; all: number }> {
	const stat = pid === undefined ? '' : await readFile(`/proc/${pid}/stat`, 'utf8');
	const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
	const own = pid === undefined ? 0 : Number(fields[11]) + Number(fields[12]);
	const total = (await readFile('/proc/stat', 'utf8')).split('\n')[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
	const idle = (total[3] ?? 0) + (total[4] ?? 0);
	return { own: own / ticksPerSecond, all: (total.reduce((sum, n) => sum + n, 0) - idle) / ticksPerSecond };
}

interface Result {
	readonly iops: number;
	readonly megabytes: number;
	/** Microseconds of CPU for a request: the server's own, and the whole machine's, fio included. */
	readonly ownCpu: number;
	readonly allCpu: number;
}

async function measure(target: Target, job: (typeof jobs)[number]): Promise<Result> {
	const args = ['--name=bench', `--filename=${target.path}`, '--direct=1', '--ioengine=libaio', `--rw=${job.rw}`, `--iodepth=${job.depth}`,
		`--bs=${job.block}`, `--size=${layerCount * layerBytes}`, `--runtime=${seconds}`, '--time_based', '--randseed=1', '--output-format=json'];
	const before = await cpuTimes(target.pid);
	const { stdout } = await run('fio', args, { cwd: tmpdir() });
	const after = await cpuTimes(target.pid);
	interface Side {
		iops: number;
		bw: number;
		total_ios: number;
	}
	const { read, write } = (JSON.parse(stdout) as { jobs: [{ read: Side; write: Side }] }).jobs[0];
	const requests = read.total_ios + write.total_ios;
	return {
		iops: read.iops + write.iops,
		megabytes: (read.bw + write.bw) / 1024,
		ownCpu: ((after.own - before.own) / requests) * 1e6,
		allCpu: ((after.all - before.all) / requests) * 1e6,
	};
}

async function bench(source: string): Promise<void> {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-bench-'));
	const lowers: LowerLayer[] = [];
	for (let n = 0; n < layerCount; n++) {
		await copyFile(layerPath(source, n), layerPath(directory, n));
		lowers.push({ kind: 'blob', digest: `layer${n}`, size: 0, path: layerPath(directory, n) });
	}
	await copyFile(path.join(source, 'raw'), path.join(directory, 'raw'));
	const only = process.env['OBD_BENCH_KINDS']?.split(',');
	const kinds = (await probeDevices()).filter(({ kind, missing }) => missing === undefined && (only?.includes(kind) ?? true)).map(({ kind }) => kind);
	const targets = [await loopTarget(path.join(directory, 'raw'))];
	for (const kind of kinds) targets.push(await servedTarget(kind, lowers, directory));
	console.log(`${''.padEnd(34)} ${'server'.padEnd(6)} ${'IOPS'.padStart(8)} ${'MB/s'.padStart(7)} ${'share'.padStart(6)} ${'CPU us'.padStart(8)} ${'all us'.padStart(8)}`);
	for (const job of jobs) {
		let limit = 0;
		for (const target of targets) {
			const { iops, megabytes, ownCpu, allCpu } = await measure(target, job);
			if (target.name === 'loop') limit = iops;
			console.log(`${job.name.padEnd(34)} ${target.name.padEnd(6)} ${iops.toFixed(0).padStart(8)} ${megabytes.toFixed(0).padStart(7)} ${(iops / limit).toFixed(2).padStart(6)} ${ownCpu.toFixed(1).padStart(8)} ${allCpu.toFixed(1).padStart(8)}`);
		}
	}
	for (const target of targets.reverse()) await target.close();
	await rm(directory, { recursive: true, force: true });
}

const [step, directory = ''] = process.argv.slice(2);
await (step === 'prepare' ? prepare(directory) : bench(directory));
