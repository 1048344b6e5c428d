// Whole builds, measured: `npm run bench`. Each scenario runs obd-build as a user does, several times, and a
// stock buildkitd (buildctl on the PATH, daemon at $BUILDKIT_HOST) beside it where there is one, and obd-buildd
// with the same client. CPU and memory of a daemon count with its client's.
// The base of the big scenarios is Debian minbase with this machine's /usr/lib and /usr/share copied in, up
// to about 1.3 GB; $OBD_BENCH (default /var/tmp/obd-bench) keeps it between runs.
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { measure, median, processesCalled, type Measurement } from './measure.js';

const work = process.env['OBD_BENCH'] ?? '/var/tmp/obd-bench';
const rounds = Number(process.env['OBD_BENCH_ROUNDS'] ?? 3);
const port = 5055;
const registry = `127.0.0.1:${port}`;
const repository = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');
const obdBuild = path.join(repository, 'dist/bundle/bin/obd-build.cjs');
const obdBuildd = path.join(repository, 'dist/bundle/bin/obd-buildd.js');
const baseBytes = 1.1e9;

interface Scenario {
	readonly name: string;
	/** Seconds in the issue's goal, and what a stock buildkitd needed there. */
	readonly goal: string;
	readonly context: string;
	/** Whether the Dockerfile's `FROM $BASE` is the big base (each builder gets it in its own form). */
	readonly bigBase?: boolean;
	/** The repository to push to. */
	readonly push?: string;
	/** Runs before each round, unmeasured, with what empties the builder's store. */
	readonly before?: (empty: () => void) => void;
}

/** One of the two builders. */
interface Builder {
	readonly name: string;
	command(scenario: Scenario): readonly [string, readonly string[]];
	empty(): void;
	/** The daemon's process, when the builder has one. */
	readonly daemon?: number;
}

function context(name: string, dockerfile: string): string {
	const directory = path.join(work, name);
	mkdirSync(directory, { recursive: true });
	writeFileSync(path.join(directory, 'Dockerfile'), dockerfile);
	return directory;
}

async function startRegistry(): Promise<() => void> {
	const data = path.join(work, 'registry');
	mkdirSync(data, { recursive: true });
	const config = path.join(work, 'registry.yml');
	writeFileSync(config, `version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: ${data}}}\nhttp: {addr: "${registry}"}\n`);
	const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' });
	for (let tries = 0; tries < 100 && !(await isOpen()); tries++) await sleep(50);
	return () => { child.kill(); };
}

function isOpen(): Promise<boolean> {
	return new Promise((resolve) => {
		const socket = connect(port, '127.0.0.1');
		socket.once('connect', () => { socket.destroy(); resolve(true); }).once('error', () => { resolve(false); });
	});
}

/** Builds and pushes the big base once, in overlaybd form and, for the peer, as an ordinary image. */
function makeBase(): void {
	const done = path.join(work, 'base.done');
	if (existsSync(done)) return;
	const minbase = `${registry}/debian:minbase`;
	execFileSync(process.execPath, [path.join(repository, 'dist/test/helpers/base-image.js'), '--work', work, '--ref', minbase], { stdio: 'inherit' });
	const directory = context('base', `FROM ${minbase}\nCOPY usr /usr/\n`);
	copyUpTo(path.join(directory, 'usr'), baseBytes);
	const build = [obdBuild, '--root', path.join(work, 'base-store'), '--progress', 'quiet'];
	execFileSync(process.execPath, [...build, '-t', `${registry}/base:obd`, '--push', directory], { stdio: 'inherit' });
	execFileSync(process.execPath, [...build, '--output', `type=image,name=${registry}/base:oci,push=true,compression=gzip`, directory], { stdio: 'inherit' });
	rmSync(path.join(directory, 'usr'), { recursive: true });
	rmSync(path.join(work, 'base-store'), { recursive: true });
	writeFileSync(done, '');
}

/** Copies directories of this machine's /usr until they hold so many bytes. */
function copyUpTo(target: string, bytes: number): void {
	let copied = 0;
	for (const parent of ['/usr/lib', '/usr/share', '/usr/include', '/usr/local']) {
		if (!existsSync(parent)) continue;
		for (const name of readdirSync(parent)) {
			const size = Number(execFileSync('du', ['-sb', path.join(parent, name)], { encoding: 'utf8' }).split('\t')[0]);
			if (copied + size > bytes) continue;
			cpSync(path.join(parent, name), path.join(target, path.basename(parent), name), { recursive: true, verbatimSymlinks: true });
			copied += size;
		}
	}
}

/** 20,000 files, 1 GB. */
function makeFiles(): string {
	const directory = context('files', 'FROM scratch\nCOPY data /data\n');
	const data = path.join(directory, 'data');
	if (existsSync(data)) return directory;
	const source = Buffer.concat(['/usr/bin', '/usr/lib/x86_64-linux-gnu'].flatMap((dir) => readdirSync(dir).map((name) => path.join(dir, name)))
		.filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile()).slice(0, 200).map((file) => readFileSync(file)));
	for (let i = 0; i < 20_000; i++) {
		const folder = path.join(data, `d${i % 200}`);
		if (i < 200) mkdirSync(folder, { recursive: true });
		const start = (i * 7919) % (source.length - 52_000);
		writeFileSync(path.join(folder, `f${i}`), source.subarray(start, start + 52_000));
	}
	return directory;
}

const root = path.join(work, 'store');
const obd: Builder = {
	name: 'obd',
	empty: () => { rmSync(root, { recursive: true, force: true }); },
	command: ({ context: directory, bigBase, push }) => [process.execPath, [
		obdBuild, '--root', root, '--progress', 'plain',
		...(bigBase ? ['--build-arg', `BASE=${registry}/base:obd`] : []),
		...(push ? ['-t', `${registry}/${push}`, '--push'] : []),
		directory,
	]],
};

/** A daemon and buildctl; it has to take this registry as plain http. */
function daemon(name: string, address: string, base: string, pid: number | undefined): Builder {
	const buildctl = ['--addr', address];
	return {
		name,
		empty: () => { execFileSync('buildctl', [...buildctl, 'prune', '--all'], { stdio: 'ignore' }); },
		command: ({ context: directory, bigBase, push }) => ['buildctl', [
			...buildctl, 'build', '--progress', 'plain', '--frontend', 'dockerfile.v0', '--local', `context=${directory}`, '--local', `dockerfile=${directory}`,
			...(bigBase ? ['--opt', `build-arg:BASE=${registry}/${base}`] : []),
			...(push ? ['--output', `type=image,name=${registry}/${name}-${push},push=true`] : []),
		]],
		...(pid !== undefined && { daemon: pid }),
	};
}

/** The stock buildkitd at $BUILDKIT_HOST, if there is one. */
function stock(): Builder | undefined {
	const address = process.env['BUILDKIT_HOST'];
	return address ? daemon('buildkitd', address, 'base:oci', processesCalled('buildkitd')[0]) : undefined;
}

/** obd-buildd in a process of its own, where there is a buildctl to talk to it. */
async function ownDaemon(): Promise<{ readonly builder?: Builder; readonly stop: () => void }> {
	if (spawnSync('buildctl', ['--version']).status !== 0) return { stop: () => undefined };
	const socket = path.join(work, 'buildd.sock');
	const child = spawn(process.execPath, [obdBuildd, '--root', path.join(work, 'buildd'), '--addr', `unix://${socket}`], { stdio: 'ignore' });
	for (let tries = 0; tries < 100 && spawnSync('buildctl', ['--addr', `unix://${socket}`, 'debug', 'workers']).status !== 0; tries++) await sleep(100);
	return { builder: daemon('obd-buildd', `unix://${socket}`, 'base:obd', child.pid), stop: () => { child.kill(); } };
}

function changeOneFile(files: string): void {
	const file = path.join(files, 'data/d7/f7');
	appendFileSync(file, 'x');
	utimesSync(file, new Date(), new Date(Date.now() - 60_000));
}

function scenarios(): Scenario[] {
	const minbase = `${registry}/debian:minbase`;
	const steps = (count: number, step: (i: number) => string): string => Array.from({ length: count }, (_, i) => `${step(i)}\n`).join('');
	const cold = (empty: () => void): void => { empty(); };
	const files = makeFiles();
	let round = 0;
	const fifty = context('fifty', '');
	return [
		{ name: '20 steps, all cached', goal: '0.15', context: context('cached', `FROM ${minbase}\n${steps(20, (i) => `RUN echo ${i} > /f${i}`)}`) },
		{
			name: '50 x RUN true', goal: '2.25', context: fifty,
			before: () => { writeFileSync(path.join(fifty, 'Dockerfile'), `FROM ${minbase}\nENV ROUND=${process.pid}.${round++}\n${steps(50, () => 'RUN true')}`); },
		},
		{ name: 'chown -R /usr of the big base, push', goal: '3', context: context('chown', 'ARG BASE\nFROM $BASE\nRUN chown -R 1000:1000 /usr\n'), bigBase: true, push: 'chown', before: cold },
		{ name: 'COPY 20,000 files, 1 GB', goal: '8', context: files, push: 'files', before: cold },
		{ name: '  again, one file changed', goal: '5', context: files, push: 'files', before: () => { changeOneFile(files); } },
		{ name: '  again, unchanged', goal: '0.35', context: files, push: 'files' },
		{ name: 'cold FROM the big base, RUN echo, push', goal: '1', context: context('echo', 'ARG BASE\nFROM $BASE\nRUN echo hi > /x\n'), bigBase: true, push: 'echo', before: cold },
	];
}

function line(columns: readonly string[]): string {
	const widths = [50, 10, 8, 8, 8, 18];
	return columns.map((column, i) => (i < 2 ? column.padEnd(widths[i] ?? 0) : column.padStart(widths[i] ?? 0))).join('  ');
}

/** Runs a scenario with one builder and gives the medians. */
async function run(scenario: Scenario, builder: Builder): Promise<Omit<Measurement, 'exitCode' | 'output'>> {
	const build = async (): Promise<Measurement> => {
		const result = await measure(...builder.command(scenario), builder.daemon === undefined ? {} : { daemon: builder.daemon });
		if (result.exitCode !== 0) throw new Error(`${scenario.name} with ${builder.name} failed:\n${result.output}`);
		return result;
	};
	const results: Measurement[] = [];
	if (!scenario.before) await build();
	for (let i = 0; i < rounds; i++) {
		scenario.before?.(builder.empty);
		results.push(await build());
	}
	const middle = (pick: (m: Measurement) => number): number => median(results.map(pick));
	return { wallSeconds: middle((m) => m.wallSeconds), cpuSeconds: middle((m) => m.cpuSeconds), peakRssMiB: middle((m) => m.peakRssMiB) };
}

mkdirSync(work, { recursive: true });
const stopRegistry = await startRegistry();
const own = await ownDaemon();
try {
	makeBase();
	// The stock one first: the others are compared with it.
	const builders = [stock(), obd, own.builder].filter((builder) => builder !== undefined);
	const filter = new RegExp(process.argv[2] ?? '');
	console.log(line([`median of ${rounds}`, 'builder', 'wall s', 'CPU s', 'RSS MiB', 'of buildkitd\'s wall']));
	for (const scenario of scenarios().filter(({ name }) => filter.test(name))) {
		let stockWall: number | undefined;
		for (const builder of builders) {
			const { wallSeconds, cpuSeconds, peakRssMiB } = await run(scenario, builder);
			if (builder.name === 'buildkitd') stockWall = wallSeconds;
			const ratio = stockWall === undefined || builder.name === 'buildkitd' ? '' : `${(wallSeconds / stockWall).toFixed(2)}x`;
			console.log(line([builder === builders[0] ? `${scenario.name} (goal ${scenario.goal} s)` : '', builder.name, wallSeconds.toFixed(2), cpuSeconds.toFixed(2), peakRssMiB.toFixed(0), ratio]));
		}
	}
} finally {
	own.stop();
	stopRegistry();
}
