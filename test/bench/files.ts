// What file work costs on 20,000 files of 1 GB: hashing a context (first and again), copying it, unpacking
// and writing it as a layer, with `cp -a` and GNU tar beside. The target is a fresh ext4 on a loop device, as
// in a build. `node dist/test/bench/files.js`, as root; $OBD_BENCH (default /var/tmp/obd-bench) keeps the files.
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { FileTree, TarSink, runFileActions, writeChangeset } from '../../src/native/files.js';
import { measure } from './measure.js';

const work = process.env['OBD_BENCH'] ?? '/var/tmp/obd-bench';
const context = path.join(work, 'files-context');
const archive = path.join(work, 'files-context.tar');
const target = path.join(work, 'files-target');
const image = path.join(work, 'files-target.img');
const statCache = path.join(work, 'files-stat-cache');

function makeContext(): void {
	if (existsSync(archive)) return;
	rmSync(context, { recursive: true, force: true });
	const noise = randomBytes(1 << 20);
	for (let i = 0; i < 20_000; i++) {
		const directory = path.join(context, `${i % 10}`, `${i % 200}`);
		mkdirSync(directory, { recursive: true });
		const start = (i * 7919) % (noise.length - 60_000);
		writeFileSync(path.join(directory, `file${i}`), noise.subarray(start, start + 40_000 + (i * 31) % 20_000));
	}
	execFileSync('tar', ['-C', context, '-cf', archive, '.']);
}

async function onFreshDisk(use: () => Promise<void>): Promise<void> {
	mkdirSync(target, { recursive: true });
	execFileSync('truncate', ['-s', '4G', image]);
	execFileSync('mkfs.ext4', ['-q', '-F', '-O', '^has_journal', '-E', 'lazy_itable_init=1', image]);
	execFileSync('mount', ['-o', 'loop,discard', image, target]);
	try {
		await use();
	} finally {
		execFileSync('umount', [target]);
		rmSync(image);
	}
}

function report(name: string, wallMs: number, cpuMs: number): void {
	console.log(`${name.padEnd(28)} ${wallMs.toFixed(0).padStart(6)} ms ${cpuMs.toFixed(0).padStart(6)} ms CPU`);
}

async function timed(name: string, work: () => Promise<unknown>): Promise<void> {
	const cpu = process.cpuUsage();
	const start = performance.now();
	await work();
	const wall = performance.now() - start;
	const used = process.cpuUsage(cpu);
	report(name, wall, (used.user + used.system) / 1000);
}

async function other(name: string, command: string, ...args: string[]): Promise<void> {
	await onFreshDisk(async () => {
		const { wallSeconds, cpuSeconds } = await measure(command, args);
		report(name, wallSeconds * 1000, cpuSeconds * 1000);
	});
}

async function unpack(): Promise<void> {
	const sink = await TarSink.open(target, 'layer');
	for await (const chunk of createReadStream(archive, { highWaterMark: 1 << 18 }) as AsyncIterable<Buffer>) await sink.write(chunk);
	await sink.end();
}

makeContext();
rmSync(statCache, { force: true });
await sleep(2100); // what has just been written is not trusted to stay
const open = (): Promise<FileTree> => FileTree.open({ root: context, resetOwner: true, excludePatterns: ['**/node_modules', '*.md'], statCache });
await timed('checksum, first', async () => (await open()).checksum());
await timed('checksum, unchanged', async () => (await open()).checksum());
const tree = await open();
await onFreshDisk(() => timed('copy', () => runFileActions(target, [{ type: 'copy', source: tree, src: '/', dest: '/', dirCopyContents: true, createDestPath: true }])));
await other('  cp -a', 'cp', '-a', `${context}/.`, target);
await onFreshDisk(() => timed('unpack tar', unpack));
await other('  GNU tar', 'tar', '-C', target, '-xpf', archive);
for (const compression of ['uncompressed', 'gzip', 'zstd'] as const) {
	const out = path.join(work, 'files-layer');
	await timed(`write layer, ${compression}`, () => writeChangeset({ upper: context, out, compression }));
	rmSync(out);
}
console.log(`peak RSS ${(process.resourceUsage().maxRSS / 1024).toFixed(0)} MiB`);
