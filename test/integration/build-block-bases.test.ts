// Bases made of block layers of every kind: turboOCI, native with ordinary layers on top, the 2021 base layer,
// acceleration layers.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import anyTest, { type TestFn } from 'ava';
import { commitLayer } from '../../src/native/layers.js';
import { digestOf, getConfig, getManifest, nodeArchitecture, pushBlob, pushManifest, tarOf, type Descriptor } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, runObdImage, startObdImage, type TestStore } from './helpers/obd.js';
import { startProxy } from './helpers/registry-proxy.js';
import { readImageFiles } from './helpers/rootfs.js';

const run = promisify(execFile);
const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const golden = (name: string): string => path.resolve('testdata/golden', name);
const prefix = 'containerd.io/snapshot/overlaybd/';
const gzipLayer = 'application/vnd.oci.image.layer.v1.tar+gzip';
const tarLayer = 'application/vnd.oci.image.layer.v1.tar';

interface LayerToPush {
	readonly blob: Buffer;
	readonly mediaType: string;
	readonly annotations?: Readonly<Record<string, string>>;
	/** Default: the blob's digest. */
	readonly diffId?: string;
	readonly history?: string;
}

/** An overlaybd layer with its annotations. */
function blockLayer(blob: Buffer, more: Readonly<Record<string, string>> = {}): LayerToPush {
	return { blob, mediaType: tarLayer, annotations: { [`${prefix}blob-digest`]: digestOf(blob), [`${prefix}blob-size`]: String(blob.length), [`${prefix}version`]: '0.1.0', ...more } };
}

/** Pushes an image of exactly these layers. */
async function pushLayers(host: string, name: string, layers: readonly LayerToPush[], config: Readonly<Record<string, unknown>> = {}): Promise<Descriptor[]> {
	const repository = name.split(':')[0] ?? '';
	const descriptors: Descriptor[] = [];
	for (const { blob, mediaType, annotations } of layers) descriptors.push({ ...(await pushBlob(host, repository, mediaType, blob)), ...(annotations && { annotations }) });
	const histories = layers.map(({ history = 'a layer' }) => ({ created: '2023-11-14T22:13:20Z', created_by: history }));
	const document = {
		architecture: nodeArchitecture(),
		os: 'linux',
		config: { Env: ['PATH=/bin:/usr/bin'], ...config },
		rootfs: { type: 'layers', diff_ids: layers.map(({ blob, diffId }) => diffId ?? digestOf(blob)) },
		// `ctr record-trace` puts its entry first.
		history: [...histories.filter(({ created_by }) => created_by === 'Acceleration Layer'), ...histories.filter(({ created_by }) => created_by !== 'Acceleration Layer')],
	};
	await pushManifest(host, name, {
		schemaVersion: 2,
		mediaType: 'application/vnd.oci.image.manifest.v1+json',
		config: await pushBlob(host, repository, 'application/vnd.oci.image.config.v1+json', Buffer.from(JSON.stringify(document))),
		layers: descriptors,
	});
	return descriptors;
}

/** The reference's turboOCI layer, pushed with the ordinary layer it points into. */
async function pushTurbo(host: string, name: string, options: { readonly gzip?: boolean } = {}): Promise<{ readonly archive: Buffer; readonly target: Buffer }> {
	const gzip = options.gzip ?? true;
	const [meta, index, packed] = await Promise.all(['ext4.fs.meta', 'gzip.meta', 'tar.gz'].map((file) => readFile(golden(`turbo/layer1.${file}`))));
	if (!meta || !index || !packed) throw new Error('no golden files');
	const target = gzip ? packed : gunzipSync(packed);
	const tar = await tarOf([{ name: 'ext4.fs.meta', content: meta }, { name: '.turbo.ociv1', content: '' }, ...(gzip ? [{ name: 'gzip.meta', content: index }] : [])]);
	const archive = gzipSync(tar);
	await pushBlob(host, name.split(':')[0] ?? '', gzipLayer, target);
	await pushLayers(host, name, [{
		...blockLayer(archive, {
			[`${prefix}version`]: '0.1.0-turbo.ociv1',
			[`${prefix}turbo-oci/target-digest`]: digestOf(target),
			[`${prefix}turbo-oci/target-media-type`]: gzip ? gzipLayer : tarLayer,
		}),
		mediaType: gzipLayer,
		diffId: digestOf(tar),
	}]);
	return { archive, target };
}

const turboDisk = 'ac6e98d261b67afad19ea6125f124f9b9ccb6f259df5afdebe8e153979c12519';

async function sha256(file: string): Promise<string> {
	return createHash('sha256').update(await readFile(file)).digest('hex');
}

/** Builds one Dockerfile and pushes it as `reference`. */
async function push(store: TestStore, reference: string, dockerfile: string): Promise<void> {
	await build(store, ['-t', reference, '--push', await makeContext(store, { Dockerfile: dockerfile, busybox: await readFile('/bin/busybox') })]);
}

const onTurbo = (base: string): string => `FROM ${base}
COPY --chmod=755 busybox /busybox
RUN ["/busybox", "sh", "-c", "/busybox find / -xdev -type f ! -name busybox -exec /busybox sha256sum {} + > /sums"]
RUN ["/busybox", "sh", "-c", "echo changed > /etc-changed && /busybox rm /sums"]
`;

for (const gzip of [true, false]) {
	test.serial(`a turboOCI image whose layers are ${gzip ? 'gzip' : 'plain tar'} is a base, read where it is`, async (t) => {
		const { registry: { host } } = t.context;
		const store = await ownStore(t);
		const name = gzip ? 'turbo' : 'turbo-tar';
		const { archive, target } = await pushTurbo(host, name, { gzip });
		await push(store, `${host}/on-${name}`, onTurbo(`${host}/${name}`));

		// The base's layer goes over as it is, with what it points into.
		const { manifest } = await getManifest(host, `on-${name}`);
		t.is(manifest.layers[0]?.digest, digestOf(archive));
		t.is(manifest.layers[0]?.mediaType, gzipLayer);
		t.is(manifest.layers[0]?.annotations?.[`${prefix}turbo-oci/target-digest`], digestOf(target));
		t.is(manifest.layers.length, 4);
		const { rootfs } = await getConfig(host, `on-${name}`);
		t.is(rootfs.diff_ids[0], digestOf(gunzipSync(archive)));
		t.is((await fetch(`http://${host}/v2/on-${name}/blobs/${digestOf(target)}`, { method: 'HEAD' })).status, 200);

		// The image that came of it can be read as well, and every file of the base is what it was in the tar.
		const mounted = path.join(store.directory, 'mounted');
		const mounting = startObdImage(store, ['mount', '--root', store.root, `${host}/on-${name}`, mounted]);
		try {
			await mounting.seen(/is mounted at/);
			t.is(await readFile(path.join(mounted, 'etc-changed'), 'utf8'), 'changed\n');
			const tree = (await readFile(golden('turbo/layer1.tree.jsonl'), 'utf8')).trim().split('\n').map((line) => JSON.parse(line) as { path: string; sha256?: string });
			let files = 0;
			for (const { path: file, sha256: expected } of tree) {
				if (expected === undefined) continue;
				t.is(await sha256(path.join(mounted, file)), expected, file);
				files++;
			}
			t.true(files > 20);
		} finally {
			mounting.interrupt();
			await mounting.ended;
		}
		const ran = await runObdImage(store, ['run', '--root', store.root, `${host}/on-${name}`, '/busybox', 'cat', '/etc/hostname']);
		t.deepEqual([ran.code, ran.stdout], [0, 'golden\n'], ran.stderr);
		await nothingLeft(t, store);
	});
}

test.serial('inspect and flatten take turboOCI images and files, and say what is damaged', async (t) => {
	const { registry: { host }, store } = t.context;
	const { archive, target } = await pushTurbo(host, 'turbo-files');
	const disk = path.join(store.directory, 'turbo.disk');
	const flattened = await runObdImage(store, ['flatten', `${host}/turbo-files`, '-o', disk]);
	t.is(flattened.code, 0, flattened.stderr);
	t.is(await sha256(disk), turboDisk);

	const report = await runObdImage(store, ['inspect', '--json', `${host}/turbo-files`]);
	t.is(report.code, 0, report.stderr);
	const [layer] = JSON.parse(report.stdout) as { kind: string; problems: string[]; turbo: Record<string, unknown> }[];
	t.is(layer?.kind, 'turbo');
	t.deepEqual(layer?.problems, []);
	t.like(layer?.turbo, { gzip: true, indexEntries: 1, targetSize: 250655, plainSize: 542720 });

	const damaged = Buffer.from(target);
	damaged[target.length - 6] = (damaged[target.length - 6] ?? 0) ^ 1; // its CRC-32
	const files = [path.join(store.directory, 'archive'), path.join(store.directory, 'target'), path.join(store.directory, 'damaged')] as const;
	await Promise.all([writeFile(files[0], archive), writeFile(files[1], target), writeFile(files[2], damaged)]);
	const good = await runObdImage(store, ['flatten', `${files[0]}+${files[1]}`, '-o', disk]);
	t.is(good.code, 0, good.stderr);
	t.is(await sha256(disk), turboDisk);
	const bad = await runObdImage(store, ['inspect', `${files[0]}+${files[2]}`]);
	t.is(bad.code, 1);
	t.regex(bad.stdout, /PROBLEM .*damaged: gzip: the content does not match its CRC-32/);
	const missing = await runObdImage(store, ['inspect', `${files[0]}+/none`]);
	t.regex(missing.stderr, /as ARCHIVE\+TARGET there is no \/none/);
});

test.serial('bytes of an ordinary layer that arrive wrong are fetched again; when they stay wrong the build says of what', async (t) => {
	const { registry: { host } } = t.context;
	const store = await ownStore(t);
	const { target } = await pushTurbo(host, 'turbo-wire');
	const proxy = await startProxy(host);
	t.teardown(() => proxy.close());
	const dockerfile = `FROM ${proxy.host}/turbo-wire\nCOPY --chmod=755 busybox /busybox\nRUN ["/busybox", "sh", "-c", "/busybox find / -xdev -type f ! -name busybox -exec /busybox sha256sum {} + > /sums"]\n`;
	let damaged = 0;
	let limit = 1;
	proxy.alter = (request, chunk) => {
		if (request.method !== 'GET' || !(request.url ?? '').includes(digestOf(target)) || damaged >= limit) return chunk;
		damaged++;
		return Buffer.alloc(chunk.length, 0x55);
	};
	await push(store, `${host}/on-turbo-wire`, dockerfile);
	t.is(damaged, 1);

	damaged = 0;
	limit = Infinity;
	const fresh = await ownStore(t);
	const { code, stderr } = await runObd(fresh, [await makeContext(fresh, { Dockerfile: dockerfile, busybox: await readFile('/bin/busybox') })]);
	t.is(code, 1);
	t.true(damaged >= 2);
	t.regex(stderr, new RegExp(`${digestOf(target)}: .*(gzip: |other content under this digest)`));
	await nothingLeft(t, fresh);
	await nothingLeft(t, store);
});

test.serial('a turboOCI base whose parts are missing or wrong is an error that names the part', async (t) => {
	const { registry: { host }, store } = t.context;
	const { archive } = await pushTurbo(host, 'turbo-broken');
	const annotations = (target: string, type = gzipLayer): Record<string, string> => ({ [`${prefix}turbo-oci/target-digest`]: target, [`${prefix}turbo-oci/target-media-type`]: type });
	const other = await pushBlob(host, 'turbo-broken', gzipLayer, gzipSync('no layer'));
	const absent = `sha256:${'0'.repeat(64)}`;
	const cases: [tag: string, layer: LayerToPush, message: RegExp][] = [
		['absent', blockLayer(archive, annotations(absent)), new RegExp(`${absent}: not found`)],
		['other', blockLayer(archive, annotations(other.digest)), /its index is for one of 250655/],
		['zstd', blockLayer(archive, annotations(other.digest, 'application/vnd.oci.image.layer.v1.tar+zstd')), /gzip and uncompressed tars can be read/],
		['nothing', blockLayer(gzipSync(await tarOf([{ name: 'x', content: 'x' }])), annotations(other.digest)), /no ext4\.fs\.meta in it/],
		['erofs', blockLayer(archive, { ...annotations(other.digest), [`${prefix}blob-fs-type`]: 'erofs' }), /file system of type erofs; obd builds on ext4 only/],
	];
	for (const [tag, layer, message] of cases) {
		await pushLayers(host, `turbo-broken:${tag}`, [layer]);
		const { code, stderr } = await runObd(store, [await makeContext(store, { Dockerfile: `FROM ${host}/turbo-broken:${tag}\nCOPY Dockerfile /\n` })]);
		t.is(code, 1, tag);
		t.regex(stderr, message, tag);
	}
	await nothingLeft(t, store);
});

test.serial('ordinary layers on top of overlaybd layers are converted, those below are read where they are', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	await push(store, `${host}/mixed:block`, `FROM ${base}\nRUN mkdir /opt && echo block > /opt/block && echo gone > /opt/gone\n`);
	const { manifest } = await getManifest(host, 'mixed:block');
	const below = await Promise.all(manifest.layers.map(async ({ digest, annotations }): Promise<LayerToPush> => ({
		blob: Buffer.from(await (await fetch(`http://${host}/v2/mixed/blobs/${digest}`)).arrayBuffer()), mediaType: tarLayer, ...(annotations && { annotations }),
	})));
	const tars = await Promise.all([
		tarOf([{ name: 'opt/tar', content: 'tar\n' }, { name: 'opt/.wh.gone', content: '' }]),
		tarOf([{ name: 'opt/second', content: 'second\n' }]),
	]);
	const ordinary = tars.map((tar): LayerToPush => ({ blob: gzipSync(tar), mediaType: gzipLayer, diffId: digestOf(tar) }));
	await pushLayers(host, 'mixed:both', [...below, ...ordinary]);

	const fresh = await ownStore(t);
	await push(fresh, `${host}/on-mixed`, `FROM ${host}/mixed:both\nRUN ls /opt > /seen\n`);
	const result = await getManifest(host, 'on-mixed');
	t.deepEqual(result.manifest.layers.slice(0, 2).map(({ digest }) => digest), manifest.layers.map(({ digest }) => digest));
	t.is(result.manifest.layers.length, 5);
	t.deepEqual(await readImageFiles(fresh, host, 'on-mixed', ['seen', 'opt/block', 'opt/tar']), ['block\nsecond\ntar\n', 'block\n', 'tar\n']);
	await push(fresh, `${host}/on-mixed:again`, `FROM ${host}/mixed:both\nRUN ls / > /seen\n`);
	t.deepEqual((await getManifest(host, 'on-mixed:again')).manifest.layers.slice(0, 4), result.manifest.layers.slice(0, 4), 'converted once');
	await nothingLeft(t, fresh);

	await pushLayers(host, 'mixed:wrong', [...ordinary, ...below]);
	const { code, stderr } = await runObd(fresh, [await makeContext(fresh, { Dockerfile: `FROM ${host}/mixed:wrong\nRUN true\n` })]);
	t.is(code, 1);
	t.regex(stderr, /ordinary layer sha256:[0-9a-f]{64} lies below an overlaybd layer/);
});

/** As baselayers/ext4_64: a bare ZFile with stack memory in its header, of an ext4 with a journal. */
async function journalledBase(directory: string): Promise<Buffer> {
	const size = 1024 ** 3;
	const files = { data: path.join(directory, 'base.data'), index: path.join(directory, 'base.index') };
	await mkdir(directory, { recursive: true });
	const header = Buffer.alloc(4096);
	Buffer.from('4c534d5400010200657e63d294440 84ca2d2c8ec4fcfae8a'.replace(' ', ''), 'hex').copy(header);
	header.writeUInt32LE(390, 24);
	header.writeUInt32LE(0x13, 28);
	header.writeBigUInt64LE(BigInt(size), 48);
	header.write('00000000-0000-0000-0000-000000000000', 56);
	header.write('00000000-0000-0000-0000-000000000000', 93);
	header[132] = 1;
	header[133] = 1;
	const file = await open(files.data, 'w');
	await file.write(header);
	await file.truncate(size + 4096);
	await file.close();
	await writeFile(files.index, '');
	await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-E', 'offset=4096', files.data, `${size / 1024}k`]);
	const layer = path.join(directory, 'base.layer');
	await commitLayer(files, layer, { tar: false });
	const bytes = await readFile(layer);
	for (const at of [0, bytes.length - 512]) {
		bytes.writeUInt32LE(0xdeadbeef, at + 28);
		bytes.writeBigUInt64LE((0x7ffea4640000n | BigInt(bytes.readUInt8(at + 32)) | 0x40n) & ~0x10n, at + 32);
		bytes.fill(0xa5, at + 96, at + 512);
	}
	return bytes;
}

test.serial('the base layer of 2021, a bare ZFile with a journal in its file system, can be built on', async (t) => {
	const { registry: { host } } = t.context;
	const store = await ownStore(t);
	await pushLayers(host, 'journal', [blockLayer(await journalledBase(path.join(store.directory, 'journal')))]);
	await push(store, `${host}/on-journal`, `FROM ${host}/journal\nCOPY --chmod=755 busybox /bin/busybox\nRUN ["/bin/busybox", "sh", "-c", "echo made > /made"]\nRUN ["/bin/busybox", "sh", "-c", "/bin/busybox cat /made > /copied"]\n`);
	t.deepEqual(await readImageFiles(store, host, 'on-journal', ['made', 'copied']), ['made\n', 'made\n']);
	await nothingLeft(t, store);
});
