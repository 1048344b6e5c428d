// Builds on a base that stays in its registry: what is fetched, what the next build has before it asks, and
// what of it a user is told.
import { randomBytes } from 'node:crypto';
import { readFile, readdir, rm, stat } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { busybox, getBlob, getManifest, pushBase, pushBlob, pushManifest, tarOf } from './helpers/base-images.js';
import { leftoversOf } from './helpers/build-leftovers.js';
import { build, makeContext, makeStore, runObd, type TestStore } from './helpers/obd.js';
import { startRegistry, type TestRegistry } from './helpers/registry.js';
import { startProxy, type RegistryProxy } from './helpers/registry-proxy.js';

interface Context {
	registry: TestRegistry;
}

const test = anyTest as TestFn<Context>;

test.before(async (t) => {
	const registry = await startRegistry();
	t.context = { registry };
	const store = await makeStore();
	const files = Array.from({ length: 8 }, (_, i) => ({ name: `noise${i}`, content: randomBytes(1_000_000) }));
	await pushBase(registry.host, 'plain', [await tarOf([...busybox(), ...files])]);
	await build(store, ['-t', `${registry.host}/lazy`, '--push', await makeContext(store, { Dockerfile: `FROM ${registry.host}/plain\nRUN echo hi > /hi\n` })]);
	await store.dispose();
});

test.after.always((t) => t.context.registry?.stop());

async function setUp(t: ExecutionContext<Context>): Promise<{ store: TestStore; proxy: RegistryProxy; bytes: () => number }> {
	const [store, proxy] = await Promise.all([makeStore(), startProxy(t.context.registry.host)]);
	t.teardown(async () => {
		await proxy.close();
		const left = await leftoversOf(store);
		if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`);
		await store.dispose();
	});
	return { store, proxy, bytes: () => proxy.passed.reduce((sum, { bytes }) => sum + bytes, 0) };
}

interface Fetched {
	readonly fetched: number;
	readonly size: number;
	readonly share: number;
}

async function fetchedOf(file: string): Promise<Readonly<Record<string, Fetched>>> {
	return (JSON.parse(await readFile(file, 'utf8')) as { 'obd.fetched': Record<string, Fetched> })['obd.fetched'];
}

test('the layers of a lazy base are opened before the step that needs them starts', async (t) => {
	const { store, proxy } = await setUp(t);
	const reads: number[] = [];
	proxy.intercept = (request) => {
		if (request.headers.range !== undefined) reads.push(Date.now());
		return false;
	};
	const { stderr } = await build(store, ['--progress', 'rawjson', await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN true\n` })]);
	const [, started = ''] = /"name":"\[2\/2\] RUN true"[^}]*"started":"([^"]+)"/.exec(stderr) ?? [];
	t.true(reads.length > 0);
	t.true((reads[0] ?? Infinity) < Date.parse(started), `first read ${reads[0]}, started ${Date.parse(started)}`);
});

test('the next cold build fetches what this one read, in fewer requests and no more bytes', async (t) => {
	const { store, proxy, bytes } = await setUp(t);
	const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN cat /noise5 /noise2 | wc -c\nRUN cat /noise7 | wc -c\n` });
	const cold = async (): Promise<{ requests: number; bytes: number }> => {
		await rm(path.join(store.root, 'cache', 'blocks'), { recursive: true, force: true });
		proxy.passed.length = 0;
		await build(store, ['--no-cache', context]);
		return { requests: proxy.passed.length, bytes: bytes() };
	};
	const first = await cold();
	t.true(first.bytes > 3_000_000, 'it read three of the files');
	const second = await cold();
	t.true(second.requests < first.requests, `${second.requests} requests, ${first.requests} before`);
	t.true(second.bytes <= first.bytes, `${second.bytes} bytes, ${first.bytes} before`);
	const third = await cold();
	t.true(third.bytes <= first.bytes, 'a trace does not grow by what it fetches');
});

test('the metadata file and the progress say what was fetched of each layer', async (t) => {
	const { store, proxy } = await setUp(t);
	const metadata = path.join(store.directory, 'metadata.json');
	const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN cat /noise3 > /dev/null\n` });
	const { stderr } = await build(store, ['--metadata-file', metadata, context]);
	const { manifest } = await getManifest(t.context.registry.host, 'lazy');
	const fetched = await fetchedOf(metadata);
	t.deepEqual(new Set(Object.keys(fetched)), new Set(manifest.layers.map(({ digest }) => digest)));
	for (const { digest, size } of manifest.layers) {
		t.is(fetched[digest]?.size, size);
		t.true((fetched[digest]?.fetched ?? 0) > 0);
	}
	const [base] = manifest.layers;
	const of = fetched[base?.digest ?? ''];
	t.true((of?.fetched ?? 0) > 1_000_000 && (of?.share ?? 1) < 0.6, JSON.stringify(of));
	t.regex(stderr, new RegExp(`fetching blocks of ${base?.digest} [0-9.]+[kM]?B / [0-9.]+MB`));
});

test('--verify reads every layer whole, and finds what no checksum of a block does', async (t) => {
	const { registry } = t.context;
	const { store, proxy, bytes } = await setUp(t);
	const { manifest } = await getManifest(registry.host, 'lazy');
	const size = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
	const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN true\n` });
	await build(store, ['--verify', context]);
	t.true(bytes() >= size);
	// A tar header that is not what was pushed: every block below is right.
	const [base, ...others] = manifest.layers;
	if (!base) throw new Error('no layers');
	proxy.alter = (request, chunk) => {
		if (request.url?.includes(base.digest) !== true || !/^bytes=0-/.test(request.headers.range ?? '') || !chunk.subarray(0, 13).equals(Buffer.from('overlaybd.pax'))) return chunk;
		const changed = Buffer.from(chunk);
		changed[120] = 1;
		return changed;
	};
	await rm(path.join(store.root, 'cache'), { recursive: true });
	const { code, stderr } = await runObd(store, ['--verify', '--no-cache', context]);
	t.is(code, 1, stderr);
	t.regex(stderr, new RegExp(`ERROR: failed to build: .*${base.digest}: .*the registry has other content under this digest: all of it has sha256:`));
	t.true(others.length > 0);
});

test('the block cache is shared by builds, and stays under its limit between them', async (t) => {
	const { registry } = t.context;
	const { store, proxy, bytes } = await setUp(t);
	// A second base with layers of its own.
	const { manifest } = await getManifest(registry.host, 'lazy');
	const config = await getBlob(registry.host, 'lazy', manifest.config.digest);
	for (const { digest, mediaType } of manifest.layers) await pushBlob(registry.host, 'again', mediaType, await getBlob(registry.host, 'lazy', digest));
	await pushBlob(registry.host, 'again', manifest.config.mediaType, config);
	await pushManifest(registry.host, 'again', manifest);
	const read = (name: string): Promise<string> => makeContext(store, { Dockerfile: `FROM ${proxy.host}/${name}\nRUN cat /noise1 > /dev/null; echo ${name}\n` });
	await build(store, [await read('lazy')]);
	proxy.passed.length = 0;
	await build(store, [await read('again')]);
	t.true(bytes() < 100_000, `the same layers from another repository: ${bytes()} bytes`);
	const blocks = path.join(store.root, 'cache', 'blocks');
	const used = async (): Promise<number> => (await Promise.all((await readdir(blocks)).map((name) => stat(path.join(blocks, name))))).reduce((sum, { blocks }) => sum + blocks * 512, 0);
	const before = await used();
	t.true(before > 1024 ** 2, `${before} bytes`);
	// The next device server looks after it when it starts. A limit far from what any of the files takes: a disk with
	// its free space in small pieces adds a block of its own here and there.
	await build(store, ['--block-cache-size', '1m', '--no-cache', await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY Dockerfile /\n' })]);
	const after = await used();
	t.true(after <= 1024 ** 2, `${after} bytes`);
});

test('flags that make no sense are refused', async (t) => {
	const store = await makeStore();
	t.teardown(() => store.dispose());
	const context = await makeContext(store, { Dockerfile: 'FROM scratch\n' });
	for (const [flag, message] of [['--fetch-timeout=soon', /time: invalid duration "soon"/], ['--fetch-timeout=0s', /--fetch-timeout must be more than nothing/], ['--block-cache-size=large', /invalid size: 'large'/]] as const) {
		const { code, stderr } = await runObd(store, [flag, context]);
		t.is(code, 1);
		t.regex(stderr, message);
	}
});
