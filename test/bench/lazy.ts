// What lazy reads cost: attaching ten layers from a registry on loopback, a cold step over a slow link without
// and with a trace, and reads of a warm cache as a share of those of an uncompressed local layer. Root.
//   node dist/test/bench/lazy.js
import { execFile } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { startDeviceServer, type Device, type DeviceServer, type FrozenLayer, type LowerLayer } from '../../src/device/index.js';
import { buildMountOptions, makeFileSystem } from '../../src/device/index.js';
import { decompressFile } from '../../src/native/layers.js';
import { mount, umount } from '../../src/native/system.js';
import { busybox, pushBase, pushBlob, tarOf } from '../integration/helpers/base-images.js';
import { build, makeContext, makeStore } from '../integration/helpers/obd.js';
import { startRegistry } from '../integration/helpers/registry.js';
import { startProxy } from '../integration/helpers/registry-proxy.js';
import { median } from './measure.js';
import { startLink } from './link.js';

const run = promisify(execFile);
const layerCount = 10;
const layerBytes = 100 * 2 ** 20;
const diskBytes = 2 * 2 ** 30;
const rounds = 5;
/** A round is two seconds; what else the machine does moves one by a tenth. */
const warmRounds = 9;
/** 100 Mbit/s, 20 ms. */
const link = { roundTrip: 20, rate: 12.5e6 };
const readBytes = 30e6;

/** A program's bytes, over and over. */
const program = await readFile(process.execPath);
function programBytes(bytes: number): Buffer {
	return Buffer.alloc(bytes, program);
}

const directory = await mkdtemp(path.join(tmpdir(), 'obd-bench-'));
const registry = await startRegistry();
const proxy = await startProxy(registry.host);
try {
	await withServer('make', async (server) => {
		const layers = await makeLayers(server);
		await attachBench(layers);
		await warmBench(server, layers);
	});
	await linkBench();
} finally {
	await proxy.close();
	await registry.stop();
	await rm(directory, { recursive: true, force: true });
}

async function withServer<T>(name: string, body: (server: DeviceServer) => Promise<T>): Promise<T> {
	const instanceDir = path.join(directory, name);
	await mkdir(instanceDir, { recursive: true });
	const server = await startDeviceServer({ root: path.join(directory, 'store'), instanceDir });
	try {
		return await body(server);
	} finally {
		await server.close();
	}
}

interface Layers {
	readonly lowers: readonly (LowerLayer & { readonly kind: 'remote' })[];
	/** The same uncompressed, in the registry. */
	readonly plain: readonly LowerLayer[];
	/** The same as local files. */
	readonly blobs: readonly LowerLayer[];
	/** The same, uncompressed. */
	readonly frozen: readonly FrozenLayer[];
}

async function makeLayers(server: DeviceServer): Promise<Layers> {
	const device = await server.attach({ lowers: [], writable: true, virtualSize: diskBytes });
	await makeFileSystem(device.path);
	const mountPoint = path.join(directory, 'mnt');
	await mkdir(mountPoint);
	await mount(device.path, mountPoint, 'ext4', buildMountOptions(true));
	const lowers: (LowerLayer & { kind: 'remote' })[] = [];
	const plain: LowerLayer[] = [];
	const blobs: LowerLayer[] = [];
	const frozen: FrozenLayer[] = [];
	for (let i = 0; i < layerCount; i++) {
		await writeFile(path.join(mountPoint, `layer${i}`), programBytes(layerBytes));
		await run('sync', ['-f', mountPoint]);
		const top = await device.seal() as FrozenLayer;
		frozen.push(top);
		const file = path.join(directory, `blob${i}`);
		const { digest, size } = await top.commit({ path: file, uuid: '11111111-1111-1111-1111-111111111111' });
		await pushBlob(registry.host, 'bench', '', await readFile(file));
		blobs.push({ kind: 'blob', digest, size, path: file });
		const source = { repository: `${proxy.host}/bench`, insecure: true };
		lowers.push({ kind: 'remote', digest, size, source });
		const unpacked = path.join(directory, 'unpacked');
		await decompressFile(file, unpacked);
		plain.push({ kind: 'remote', ...await pushBlob(registry.host, 'bench', '', await readFile(unpacked)), source });
		await rm(unpacked);
	}
	await umount(mountPoint);
	await device.detach();
	return { lowers, plain, blobs, frozen };
}

async function attachBench({ lowers, blobs }: Layers): Promise<void> {
	const size = lowers.reduce((sum, lower) => sum + lower.size, 0);
	const direct = lowers.map((lower) => ({ ...lower, source: { ...lower.source, repository: `${registry.host}/bench` } }));
	const times = { remote: [] as number[], local: [] as number[] };
	const timed = async (server: DeviceServer, what: keyof typeof times, layers: readonly LowerLayer[]): Promise<void> => {
		const started = performance.now();
		const device = await server.attach({ lowers: layers, writable: false });
		times[what].push(performance.now() - started);
		await device.detach();
	};
	for (let i = 0; i < rounds; i++) {
		await rm(path.join(directory, 'store', 'cache'), { recursive: true, force: true });
		await withServer(`attach${i}`, async (server) => {
			await timed(server, 'local', blobs);
			await timed(server, 'remote', direct);
		});
	}
	await rm(path.join(directory, 'store', 'cache'), { recursive: true, force: true });
	proxy.passed.length = 0;
	await withServer('count', async (server) => { await (await server.attach({ lowers, writable: false })).detach(); });
	const requests = Math.max(...lowers.map(({ digest }) => proxy.passed.filter(({ url }) => url.includes(digest)).length));
	const bytes = Math.max(...lowers.map(({ digest }) => proxy.passed.filter(({ url }) => url.includes(digest)).reduce((sum, one) => sum + one.bytes, 0)));
	console.log(`attach of ${layerCount} layers, ${(size / 1e6).toFixed(0)} MB (${layerCount * layerBytes / 2 ** 20} MiB of files), loopback: ${median(times.remote).toFixed(0)} ms, of local files ${median(times.local).toFixed(0)} ms; a layer at most ${requests} requests, ${bytes} bytes (its index has ${layerBytes / 4096 * 4})`);
}

async function fioRead(device: Device, size: number): Promise<number> {
	const args = ['--name=bench', `--filename=${device.path}`, '--direct=1', '--ioengine=libaio', '--rw=read', '--iodepth=8', '--bs=128k', `--size=${size}`, '--readonly', '--loops=2', '--output-format=json'];
	const { stdout } = await run('fio', args, { cwd: tmpdir() });
	return (JSON.parse(stdout) as { jobs: [{ read: { bw: number } }] }).jobs[0].read.bw / 1024;
}

/** The same disk: through the warm cache, compressed as layers are and as they come without, and from uncompressed local files. */
async function warmBench(server: DeviceServer, { lowers, plain, frozen }: Layers): Promise<void> {
	const size = diskBytes / 2;
	const devices = {
		compressed: await server.attach({ lowers, writable: false }),
		uncompressed: await server.attach({ lowers: plain, writable: false }),
		local: await server.attach({ lowers: frozen.map(({ id }) => ({ kind: 'frozen', id })), writable: false }),
	};
	const kinds = ['compressed', 'uncompressed', 'local'] as const;
	for (const kind of kinds) await fioRead(devices[kind], size); // everything is in the cache now
	const rounds: Record<(typeof kinds)[number], number>[] = [];
	for (let i = 0; i < warmRounds; i++) {
		const speed = { compressed: 0, uncompressed: 0, local: 0 };
		for (const kind of i % 2 === 0 ? kinds : [...kinds].reverse()) speed[kind] = await fioRead(devices[kind], size);
		rounds.push(speed);
	}
	for (const device of Object.values(devices)) await device.detach();
	for (const kind of ['compressed', 'uncompressed'] as const) {
		const shares = rounds.map((speed) => 100 * speed[kind] / speed.local);
		console.log(`warm cache, ${kind} layers, sequential 128 KiB at depth 8: ${median(rounds.map((speed) => speed[kind])).toFixed(0)} MiB/s, of uncompressed local layers ${median(rounds.map(({ local }) => local)).toFixed(0)} MiB/s; side by side ${median(shares).toFixed(0)} % of these (${Math.min(...shares).toFixed(0)} to ${Math.max(...shares).toFixed(0)} in ${warmRounds} rounds)`);
	}
}

async function linkBench(): Promise<void> {
	const [maker, store] = [await makeStore(), await makeStore()];
	const files = Array.from({ length: 32 }, (_, i) => ({ name: `data${i}`, content: randomFillSync(Buffer.alloc(readBytes)) }));
	await pushBase(registry.host, 'plain', [await tarOf([...busybox(), ...files.slice(0, 16)]), await tarOf(files.slice(16))], { compression: 'uncompressed' });
	await build(maker, ['-t', `${registry.host}/lazy`, '--push', await makeContext(maker, { Dockerfile: `FROM ${registry.host}/plain\nRUN true\n` })]);
	await maker.dispose();
	const slow = await startLink(registry.host, link);
	const context = await makeContext(store, { Dockerfile: `FROM ${slow.host}/lazy\nRUN cat /data7 > /dev/null\n` });
	const metadata = path.join(directory, 'metadata.json');
	for (const what of ['without a trace', 'with a trace', 'with a trace']) {
		await rm(path.join(store.root, 'cache', 'blocks'), { recursive: true, force: true });
		const started = performance.now();
		const { stderr } = await build(store, ['--no-cache', '--metadata-file', metadata, context]);
		const whole = (performance.now() - started) / 1000;
		const seconds = Number(/\[2\/2\] RUN[^]*?DONE ([\d.]+)s/.exec(stderr)?.[1]);
		const fetched = Object.values((JSON.parse(await readFile(metadata, 'utf8')) as { 'obd.fetched': Record<string, { fetched: number }> })['obd.fetched']).reduce((sum, one) => sum + one.fetched, 0);
		const least = readBytes / link.rate;
		console.log(`cold RUN of 30 MB over 100 Mbit/s and 20 ms, ${what}: ${seconds.toFixed(1)} s, ${(seconds / least).toFixed(2)} times the ${least.toFixed(1)} s of those bytes; ${(fetched / 1e6).toFixed(1)} MB fetched; the whole command, which opens the layers before the step starts, ${whole.toFixed(1)} s`);
	}
	await slow.close();
	await store.dispose();
}
