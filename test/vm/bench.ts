// The device servers side by side on one stack of ten layers, with a plain loop device with direct I/O on the same
// disk as a raw file as the limit, and the real overlaybd-tcmu as the peer where it is on the PATH. Two steps, since
// a guest is slow at making layers: see test/vm/bench.
//   node dist/test/vm/bench.js prepare DIR    on the host: the layers and the raw disk
//   node dist/test/vm/bench.js run DIR        in the guest
// Each round measures every job on every device in turn, so that all have the same moments of a shared machine; the
// figures are medians of the rounds, and a share is the median of those to the loop device of the same round. Reads
// come before writes, which put a layer of their own on top.
// What a read of tcmu is made of: the kernel hands it on four times (two workers, the server, fio); at depth 1 the server
// looks for the next one instead of sleeping. Large reads are bound by the processors: 128 KiB at depth 8 take about
// 240 us of them, of which decompression has 50, checksums 25, the copy out of the ring 35, fio and the block layer 45,
// and the rest is the handing on. The loop device takes 40, since QEMU moves its data outside of the guest.
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { copyFile, mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { probeDevices, startDeviceServer, type DeviceKind, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { flatten } from '../../src/native/layers.js';
import { overlaybdTarget } from './bench-peer.js';

const run = promisify(execFile);
const layerCount = 10;
const layerBytes = 32 * 2 ** 20;
const rounds = Number(process.env['OBD_BENCH_ROUNDS'] ?? 5);
const seconds = Number(process.env['OBD_BENCH_SECONDS'] ?? 1);
const ticksPerSecond = 100;

interface Job {
	readonly name: string;
	readonly rw: 'randread' | 'read' | 'randwrite';
	readonly depth: number;
	readonly block: string;
}

const readJobs: readonly Job[] = [
	{ name: 'random read 4 KiB, depth 1', rw: 'randread', depth: 1, block: '4k' },
	{ name: 'random read 4 KiB, depth 32', rw: 'randread', depth: 32, block: '4k' },
	{ name: 'sequential read 128 KiB, depth 1', rw: 'read', depth: 1, block: '128k' },
	{ name: 'sequential read 128 KiB, depth 8', rw: 'read', depth: 8, block: '128k' },
];
const writeJobs: readonly Job[] = [{ name: 'random write 4 KiB, depth 32', rw: 'randwrite', depth: 32, block: '4k' }];

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

/** A device to measure. */
export interface Target {
	readonly name: string;
	readonly path: string;
	readonly writable: boolean;
	/** Of its server; none for the loop device. */
	readonly pid?: number;
	close(): Promise<void>;
}

async function loopTarget(raw: string): Promise<Target> {
	const device = (await run('losetup', ['--find', '--show', '--direct-io=on', raw])).stdout.trim();
	return { name: 'loop', path: device, writable: true, close: async () => void (await run('losetup', ['--detach', device])) };
}

async function servedTarget(kind: DeviceKind, lowers: readonly LowerLayer[], directory: string): Promise<Target> {
	const instanceDir = path.join(directory, 'run', kind);
	const server: DeviceServer = await startDeviceServer({ root: directory, instanceDir, deviceKind: kind });
	const device = await server.attach({ lowers, writable: true });
	const { stdout } = await run('pgrep', ['-f', `server-main.js.*${instanceDir}"`]);
	return { name: kind, path: device.path, writable: true, pid: Number(stdout.trim()), close: () => server.close() };
}

interface Result {
	readonly iops: number;
	readonly megabytes: number;
	/** Microseconds of CPU for a request: the server's own, and the whole machine's, fio included. */
	readonly ownCpu: number;
	readonly allCpu: number;
}

/** CPU seconds in what `cat /proc/stat /proc/PID/task/THREAD/schedstat...` printed: the process's, and the machine's. */
function cpuTimes(text: string): { own: number; all: number } {
	const lines = text.split('\n');
	const total = lines[0]?.trim().split(/\s+/).slice(1).map(Number) ?? [];
	const idle = (total[3] ?? 0) + (total[4] ?? 0);
	const threads = lines.filter((line) => /^\d+ \d+ \d+$/.test(line));
	return { own: threads.reduce((sum, line) => sum + parseInt(line, 10), 0) / 1e9, all: (total.reduce((sum, n) => sum + n, 0) - idle) / ticksPerSecond };
}

/** Runs the jobs on the targets, one after the other. One fio does it all, since starting one takes seconds in a guest. */
async function measure(jobs: readonly Job[], targets: readonly Target[], directory: string): Promise<Result[][]> {
	// Where fio puts what those commands print.
	const cpu = (job: number, target: number, when: 'prerun' | 'postrun'): Promise<string> => readFile(path.join(directory, `${job}-${target}.${when}.txt`), 'latin1');
	const lines = ['[global]', 'direct=1', 'ioengine=libaio', 'thread', `size=${layerCount * layerBytes}`, `runtime=${seconds}`, 'time_based', 'randseed=1'];
	for (const [j, job] of jobs.entries()) {
		for (const [t, target] of targets.entries()) {
			const look = `cat /proc/stat ${target.pid === undefined ? '' : `/proc/${target.pid}/task/*/schedstat`}`;
			lines.push(`[${j}-${t}]`, 'stonewall', `filename=${target.path}`, `rw=${job.rw}`, `iodepth=${job.depth}`, `bs=${job.block}`,
				`exec_prerun=${look}`, `exec_postrun=${look}`);
		}
	}
	const file = path.join(directory, 'jobs.fio');
	await writeFile(file, lines.join('\n'));
	const { stdout } = await run('fio', ['--output-format=json', file], { cwd: directory, maxBuffer: 64 * 2 ** 20 });
	interface Side {
		iops: number;
		bw: number;
		total_ios: number;
	}
	const measured = (JSON.parse(stdout.slice(stdout.indexOf('{'))) as { jobs: { jobname: string; read: Side; write: Side }[] }).jobs;
	return Promise.all(jobs.map((_, j) => Promise.all(targets.map(async (_target, t) => {
		const found = measured.find(({ jobname }) => jobname === `${j}-${t}`);
		if (!found) throw new Error(`fio says nothing of ${j}-${t}: ${stdout.slice(0, 1000)}`);
		const before = cpuTimes(await cpu(j, t, 'prerun')), after = cpuTimes(await cpu(j, t, 'postrun'));
		const { read, write } = found;
		const requests = read.total_ios + write.total_ios;
		return {
			iops: read.iops + write.iops,
			megabytes: (read.bw + write.bw) / 1024,
			ownCpu: ((after.own - before.own) / requests) * 1e6,
			allCpu: ((after.all - before.all) / requests) * 1e6,
		};
	}))));
}

function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	return ((sorted[(sorted.length - 1) >> 1] ?? 0) + (sorted[sorted.length >> 1] ?? 0)) / 2;
}

const columns = (cells: readonly (string | number)[], widths: readonly number[]): string => cells.map((cell, n) => (n === 0 ? String(cell).padEnd(widths[n] ?? 0) : String(cell).padStart(widths[n] ?? 0))).join(' ');
const widths = [33, 9, 7, 6, 6, 12, 8, 8];

/** Measures some rounds and prints their medians. */
async function report(jobs: readonly Job[], targets: readonly Target[], directory: string): Promise<void> {
	const results: Result[][][] = [];
	for (let round = 0; round < rounds; round++) results.push(await measure(jobs, targets, directory));
	for (const [j, job] of jobs.entries()) {
		for (const [t, target] of targets.entries()) {
			const own = results.map((round) => round[j]?.[t]).filter((result) => result !== undefined);
			const of = (what: (result: Result) => number): string => median(own.map(what)).toFixed(0);
			const shares = results.map((round) => (round[j]?.[t]?.iops ?? 0) / (round[j]?.[0]?.iops ?? 1));
			console.log(columns([job.name, target.name, of(({ iops }) => iops), of(({ megabytes }) => megabytes), median(shares).toFixed(2),
				`${Math.min(...shares).toFixed(2)}-${Math.max(...shares).toFixed(2)}`, of(({ ownCpu }) => ownCpu), of(({ allCpu }) => allCpu)], widths));
		}
	}
}

async function bench(source: string): Promise<void> {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-bench-'));
	const layers = Array.from({ length: layerCount }, (_, n) => layerPath(directory, n));
	for (let n = 0; n < layerCount; n++) await copyFile(layerPath(source, n), layerPath(directory, n));
	await copyFile(path.join(source, 'raw'), path.join(directory, 'raw'));
	const lowers = layers.map((file, n): LowerLayer => ({ kind: 'blob', digest: `layer${n}`, size: 0, path: file }));
	const only = process.env['OBD_BENCH_KINDS']?.split(',');
	const kinds = (await probeDevices()).filter(({ kind, missing }) => missing === undefined && (only?.includes(kind) ?? true)).map(({ kind }) => kind);
	const targets = [await loopTarget(path.join(directory, 'raw'))];
	for (const kind of kinds) targets.push(await servedTarget(kind, lowers, directory));
	const peer = await overlaybdTarget(layers, directory);
	if (peer) targets.push(peer);

	console.log(`${rounds} rounds of ${seconds} s, medians; share of loop, with its range; microseconds of CPU a request`);
	console.log(columns(['', 'server', 'IOPS', 'MB/s', 'share', 'range', 'server', 'machine'], widths));
	await report(readJobs, targets, directory);
	await report(writeJobs, targets.filter(({ writable }) => writable), directory);
	for (const target of targets.reverse()) await target.close();
	await rm(directory, { recursive: true, force: true });
}

const [step, directory = ''] = process.argv.slice(2);
await (step === 'prepare' ? prepare(directory) : bench(directory));
