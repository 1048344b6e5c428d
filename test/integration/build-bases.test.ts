// What FROM takes: ordinary images of every kind, converted once; overlaybd images, read lazily.
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { busybox, getConfig, getManifest, pushBase, pushIndex, tarOf, type TarEntry } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, type TestStore } from './helpers/obd.js';
import { startRegistry } from './helpers/registry.js';
import { startProxy, type RegistryProxy } from './helpers/registry-proxy.js';
import { downloadLayers, listTree, prefixProblems, readImageFiles, withRootfs } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Builds one Dockerfile and pushes it as `reference`. */
async function push(store: TestStore, reference: string, dockerfile: string, args: readonly string[] = []): Promise<string> {
	const context = await makeContext(store, { Dockerfile: dockerfile });
	return (await build(store, ['-t', reference, '--push', ...args, context])).stderr;
}

/** Bytes of blobs that were read through a proxy, documents excepted. */
function blobBytes(proxy: RegistryProxy): number {
	return proxy.passed.filter(({ method, url, bytes }) => method === 'GET' && url.includes('/blobs/') && bytes > 0).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Layers that change, replace and remove what is below them. */
const upperLayers: readonly (readonly TarEntry[])[] = [
	[
		{ name: 'opt', type: 'directory', mode: 0o755 },
		{ name: 'opt/tree', type: 'directory', mode: 0o755 },
		{ name: 'opt/tree/a', content: 'a\n' },
		{ name: 'opt/tree/b', content: 'b\n', uid: 1000, gid: 1001, mode: 0o600 },
		{ name: 'opt/removed', content: 'x\n' },
		{ name: 'opt/becomes-directory', content: 'x\n' },
		{ name: 'opt/becomes-file', type: 'directory', mode: 0o755 },
		{ name: 'opt/becomes-file/inside', content: 'x\n' },
		{ name: 'opt/first', content: 'linked\n' },
		{ name: 'opt/second', type: 'link', linkname: 'opt/first' },
		{ name: 'opt/setuid', content: 'x\n', mode: 0o4755 },
	],
	[
		{ name: 'opt/.wh.removed', content: '' },
		{ name: 'opt/.wh.never-was-there', content: '' },
		{ name: 'opt/tree', type: 'directory', mode: 0o755 },
		{ name: 'opt/tree/.wh..wh..opq', content: '' },
		{ name: 'opt/tree/c', content: 'c\n' },
		{ name: 'opt/becomes-directory', type: 'directory', mode: 0o700 },
		{ name: 'opt/becomes-directory/inside', content: 'y\n' },
		{ name: 'opt/becomes-file', content: 'y\n' },
	],
];

const upperTree = {
	'opt': 'directory 755 0:0',
	'opt/becomes-directory': 'directory 700 0:0',
	'opt/becomes-directory/inside': 'file 644 0:0 1700000000 eQo=',
	'opt/becomes-file': 'file 644 0:0 1700000000 eQo=',
	'opt/first': 'file 644 0:0 1700000000 bGlua2VkCg==',
	'opt/second': 'file 644 0:0 1700000000 bGlua2VkCg==',
	'opt/setuid': 'file 4755 0:0 1700000000 eAo=',
	'opt/tree': 'directory 755 0:0',
	'opt/tree/c': 'file 644 0:0 1700000000 Ywo=',
};

async function layeredTars(): Promise<Buffer[]> {
	return [await tarOf(busybox()), ...(await Promise.all(upperLayers.map((entries) => tarOf(entries))))];
}

for (const [name, options] of [
	['gzip', { compression: 'gzip' }],
	['zstd', { compression: 'zstd' }],
	['uncompressed', { compression: 'uncompressed' }],
	['docker', { compression: 'gzip', docker: true }],
] as const) {
	test.serial(`an ordinary ${name} image, its layers on top of each other with their whiteouts`, async (t) => {
		const { registry: { host }, store } = t.context;
		const own = name === 'gzip' ? store : await ownStore(t); // converted anew, not found by its diffIDs
		await pushBase(host, `base-${name}`, await layeredTars(), { ...options, config: { User: '1000', Labels: { from: 'base' } } });
		await push(own, `${host}/on-${name}`, `FROM ${host}/base-${name}\nUSER 0\nRUN cat /opt/tree/c > /seen\n`);
		const { config, rootfs } = await getConfig(host, `on-${name}`);
		t.is(rootfs.diff_ids.length, 4, 'a layer for each of the base, and one for RUN');
		t.is(config.User, '0');
		t.deepEqual(config.Labels, { from: 'base' });
		await withRootfs(own, host, `on-${name}`, async (root) => {
			const tree = await listTree(root);
			t.deepEqual(Object.fromEntries(Object.entries(tree).filter(([file]) => file.startsWith('opt'))), upperTree);
			t.regex(tree['seen'] ?? '', / Ywo=$/);
		});
		if (name === 'gzip') t.deepEqual(await prefixProblems(own, await downloadLayers(own, host, `on-${name}`)), []);
		await nothingLeft(t, own);
	});
}

test.serial('an ordinary image is converted once per store, and shared layers once for all images', async (t) => {
	const { registry } = t.context;
	const store = await ownStore(t);
	const proxy = await startProxy(registry.host);
	t.teardown(() => proxy.close());
	const [bottom = Buffer.alloc(0), middle = Buffer.alloc(0), top = Buffer.alloc(0)] = await layeredTars();
	await pushBase(registry.host, 'shared:two', [bottom, middle]);
	await pushBase(registry.host, 'shared:three', [bottom, middle, top]);
	const three = await getManifest(registry.host, 'shared:three');
	const reads = (): string[] => proxy.passed.splice(0).filter(({ method, url }) => method === 'GET' && three.manifest.layers.some(({ digest }) => url.includes(digest))).map(({ url }) => url.replace(/.*blobs\//, ''));
	const layer = (index: number): string => three.manifest.layers[index]?.digest ?? '';

	await push(store, `${registry.host}/once:1`, `FROM ${proxy.host}/shared:two\nRUN echo 1 > /1\n`);
	t.deepEqual(reads().sort(), [layer(0), layer(1)].sort());
	await push(store, `${registry.host}/once:2`, `FROM ${proxy.host}/shared:two\nRUN echo 2 > /2\n`);
	t.deepEqual(reads(), []);
	await push(store, `${registry.host}/once:3`, `FROM ${proxy.host}/shared:three\nRUN echo 3 > /3\n`);
	t.deepEqual(reads(), [layer(2)]);

	const layers = await Promise.all(['once:1', 'once:2', 'once:3'].map(async (name) => (await getManifest(registry.host, name)).manifest.layers.map(({ digest }) => digest)));
	t.deepEqual(layers[0]?.slice(0, 2), layers[1]?.slice(0, 2));
	t.deepEqual(layers[0]?.slice(0, 2), layers[2]?.slice(0, 2));
	await nothingLeft(t, store);
});

test.serial('scratch, and a stage on a stage', async (t) => {
	const { base, registry: { host }, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM scratch AS empty\nFROM ${base} AS first\nRUN echo first > /first\nFROM first\nRUN cat /first > /second\nFROM scratch\nCOPY --from=2 /first /second /\nCOPY --from=empty / /\n` });
	await build(store, ['-t', `${host}/on-scratch`, '--push', context]);
	await withRootfs(store, host, 'on-scratch', async (root) => {
		t.deepEqual(Object.keys(await listTree(root)), ['first', 'second']);
	});
	await nothingLeft(t, store);
});

test.serial('an image of nothing but a config has no layers', async (t) => {
	const { registry: { host }, store } = t.context;
	await push(store, `${host}/nothing`, 'FROM scratch\nCMD ["/none"]\n');
	const { manifest } = await getManifest(host, 'nothing');
	t.deepEqual(manifest.layers, []);
	t.deepEqual((await getConfig(host, 'nothing')).rootfs, { type: 'layers', diff_ids: [] });
	await nothingLeft(t, store);
});

test.serial('of an index the wanted platform is taken', async (t) => {
	const { registry: { host }, store } = t.context;
	const native = await pushBase(host, 'several:native', [await tarOf([...busybox(), { name: 'native', content: 'native\n' }])]);
	const foreign = await pushBase(host, 'several:foreign', [await tarOf([{ name: 'foreign', content: 'foreign\n' }])], { architecture: 's390x' });
	await pushIndex(host, 'several', [foreign, native]);
	await push(store, `${host}/one:native`, `FROM ${host}/several\nRUN cp /native /copied\n`);
	t.deepEqual(await readImageFiles(store, host, 'one:native', ['copied']), ['native\n']);
	await push(store, `${host}/one:foreign`, `FROM ${host}/several\nWORKDIR /made\n`, ['--platform', 'linux/s390x']);
	t.is((await getConfig(host, 'one:foreign')).architecture, 's390x');
	t.deepEqual(await readImageFiles(store, host, 'one:foreign', ['foreign']), ['foreign\n']);

	const missing = await runObd(store, ['--platform', 'linux/riscv64', await makeContext(store, { Dockerfile: `FROM ${host}/several\n` })]);
	t.is(missing.code, 1);
	t.regex(missing.stderr, /several.*linux\/riscv64|linux\/riscv64.*several|no match for platform in manifest/s);

	// Both platforms in one build.
	await push(store, `${host}/one:both`, `FROM ${host}/several\nWORKDIR /made\n`, ['--platform', `linux/${native.platform?.architecture ?? ''},linux/s390x`]);
	const { manifest } = await getManifest(host, 'one:both');
	const { manifests } = manifest as unknown as { manifests: { platform: { architecture: string } }[] };
	t.deepEqual(manifests.map(({ platform }) => platform.architecture), [native.platform?.architecture, 's390x']);
	await nothingLeft(t, store);
});

test.serial('of an overlaybd base only the little that is needed is read', async (t) => {
	const { base, registry } = t.context;
	const maker = await ownStore(t);
	// 3000 files of incompressible data, 190 MB.
	const data = randomBytes(1 << 20);
	const entries = Array.from({ length: 3000 }, (_, i): TarEntry => ({ name: `data/${i % 50}/${i}`, content: data.subarray((i * 61) % (1 << 19), ((i * 61) % (1 << 19)) + 65_000) }));
	const context = await makeContext(maker, { Dockerfile: `FROM ${base}\nADD data.tar /\n`, 'data.tar': await tarOf(entries) });
	await build(maker, ['-t', `${registry.host}/large`, '--push', context]);
	const { manifest } = await getManifest(registry.host, 'large');
	const size = manifest.layers.reduce((sum, layer) => sum + layer.size, 0);
	t.true(size > 190e6, `${size} bytes`);

	const proxy = await startProxy(registry.host);
	t.teardown(() => proxy.close());
	const store = await ownStore(t);
	const output = await push(store, `${proxy.host}/on-large`, `FROM ${proxy.host}/large\nRUN echo hi > /x\n`);
	const fetched = blobBytes(proxy);
	t.log(`${fetched} of ${size} bytes (${((100 * fetched) / size).toFixed(2)} %)`);
	t.true(fetched < 0.02 * size, `${fetched} of ${size} bytes were read`);
	t.false(output.includes('converting'));
	const sent = proxy.passed.filter(({ method, url }) => ['POST', 'PUT', 'PATCH'].includes(method) && !url.includes('mount='));
	t.deepEqual(sent.filter(({ url }) => manifest.layers.some(({ digest }) => url.includes(digest.slice('sha256:'.length)))), [], 'the registry links the base\'s layers by itself');
	t.deepEqual((await getManifest(registry.host, 'on-large')).manifest.layers.slice(0, 2), manifest.layers, 'the base\'s layers, as they were');
	t.deepEqual(await readImageFiles(maker, registry.host, 'on-large', ['x']), ['hi\n']);

	// What was read is kept: another build on it reads next to nothing.
	proxy.passed.length = 0;
	await push(store, `${proxy.host}/on-large`, `FROM ${proxy.host}/large\nRUN cp /x /y 2>/dev/null; echo more > /y\n`);
	t.true(blobBytes(proxy) < fetched / 2, `${blobBytes(proxy)} bytes were read again`);

	// Every byte of it is right.
	proxy.passed.length = 0;
	await push(store, `${proxy.host}/on-large`, `FROM ${proxy.host}/large\nRUN cat /data/7/* | sha256sum > /sum\n`);
	const files = entries.filter(({ name }) => name.startsWith('data/7/')).sort((a, b) => (a.name < b.name ? -1 : 1));
	const sum = createHash('sha256');
	for (const { content } of files) sum.update(content as Buffer);
	t.deepEqual(await readImageFiles(maker, registry.host, 'on-large', ['sum']), [`${sum.digest('hex')}  -\n`]);
	await nothingLeft(t, store);
	await nothingLeft(t, maker);
});

test.serial('a registry with https and a login is read and written, lazily too', async (t) => {
	const { base } = t.context;
	const secure = await startRegistry({ tls: true, basic: { username: 'user', password: 'pass word' } });
	t.teardown(() => secure.stop());
	const store = await ownStore(t);
	const config = path.join(store.directory, 'home', '.docker');
	await mkdir(config);
	await writeFile(path.join(config, 'config.json'), JSON.stringify({ auths: { [secure.host]: { auth: Buffer.from('user:pass word').toString('base64') } } }));
	const insecure = ['--insecure-registry', secure.host];
	await push(store, `${secure.host}/team/first`, `FROM ${base}\nRUN echo first > /first\n`, insecure);
	const second = await ownStore(t);
	await mkdir(path.join(second.directory, 'home', '.docker'));
	await writeFile(path.join(second.directory, 'home', '.docker', 'config.json'), JSON.stringify({ auths: { [secure.host]: { username: 'user', password: 'pass word' } } }));
	const output = await push(second, `${secure.host}/team/second`, `FROM ${secure.host}/team/first\nRUN cat /first && echo second > /second\n`, insecure);
	t.regex(output, /^#\d+ [0-9.]+ first$/m);

	const stranger = await ownStore(t);
	const refused = await runObd(stranger, [...insecure, await makeContext(stranger, { Dockerfile: `FROM ${secure.host}/team/first\nRUN true\n` })]);
	t.is(refused.code, 1);
	t.regex(refused.stderr, /team\/first.*(?:401|[Uu]nauthorized|authorization failed)/s);
	const untrusted = await runObd(second, [await makeContext(second, { Dockerfile: `FROM ${secure.host}/team/first\nRUN true\n` })]);
	t.is(untrusted.code, 1);
	t.regex(untrusted.stderr, /certificate/);
	for (const one of [store, second, stranger]) await nothingLeft(t, one);
});
