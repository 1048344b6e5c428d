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
const warmRounds = 15;
/** 100 Mbit/s, 20 ms. */
const link = { roundTrip: 20, rate: 12.5e6 };
const readBytes = 30e6;

/** Half random, half text-like: compresses to about a half, as programs do. */
function programLike(bytes: number): Buffer {
	const data = Buffer.alloc(bytes, 'all work and no play makes a dull disk; ');
	for (let at = 0; at < bytes; at += 8192) randomFillSync(data, at, Math.min(4096, bytes - at));
	return data;
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
	const blobs: LowerLayer[] = [];
	const frozen: FrozenLayer[] = [];
	for (let i = 0; i < layerCount; i++) {
		await writeFile(path.join(mountPoint, `layer${i}`), programLike(layerBytes));
		await run('sync', ['-f', mountPoint]);
		const top = await device.seal() as FrozenLayer;
		frozen.push(top);
		const file = path.join(directory, `blob${i}`);
		const { digest, size } = await top.commit({ path: file, uuid: '11111111-1111-1111-1111-111111111111' });
		await pushBlob(registry.host, 'bench', '', await readFile(file));
		blobs.push({ kind: 'blob', digest, size, path: file });
		lowers.push({ kind: 'remote', digest, size, source: { repository: `${proxy.host}/bench`, insecure: true } });
	}
	await umount(mountPoint);
	await device.detach();
	return { lowers, blobs, frozen };
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

/** The same disk twice: through the warm cache, which has its layers compressed as ever, and from uncompressed local files. */
async function warmBench(server: DeviceServer, { lowers, frozen }: Layers): Promise<void> {
	const size = diskBytes / 2;
	const results = { cache: [] as number[], local: [] as number[] };
	const cached = await server.attach({ lowers, writable: false });
	await fioRead(cached, size); // everything is in the cache now
	const local = await server.attach({ lowers: frozen.map(({ id }) => ({ kind: 'frozen', id })), writable: false });
	const shares: number[] = [];
	for (let i = 0; i < warmRounds; i++) {
		const speed = { cache: 0, local: 0 };
		for (const what of i % 2 === 0 ? ['cache', 'local'] as const : ['local', 'cache'] as const) {
			speed[what] = await fioRead(what === 'cache' ? cached : local, size);
			results[what].push(speed[what]);
		}
		shares.push(100 * speed.cache / speed.local);
	}
	await cached.detach();
	await local.detach();
	console.log(`warm cache, sequential 128 KiB at depth 8: ${median(results.cache).toFixed(0)} MiB/s, of the uncompressed local layers ${median(results.local).toFixed(0)} MiB/s; side by side ${median(shares).toFixed(0)} % of these (${Math.min(...shares).toFixed(0)} to ${Math.max(...shares).toFixed(0)} in ${warmRounds} rounds)`);
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
