// What a build can be turned into: images of every compression as archives, layouts or in a registry, and
// plain root file systems. All hold the same files.
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { digestOf, getConfig, getManifest, nodeArchitecture, type Descriptor, type Manifest } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, type TestStore } from './helpers/obd.js';
import { downloadLayers, listTree, readTar, unpackLayers, withRootfs } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext & { context: string; tree: Readonly<Record<string, string>> }>;
const run = promisify(execFile);
setUpBuilds(test as unknown as TestFn<BuildContext>);

/** Files that come, change, go, and are replaced by others. */
const dockerfile = (base: string): string => `FROM ${base}
RUN mkdir -p /d/e /d/f && echo 1 > /d/one && ln -s one /d/link && ln /d/one /d/hard && echo e > /d/e/old && chown -R 1000:1001 /d/e && chmod 4755 /d/one
RUN rm /d/link /bin/vi && echo two > /d/two
RUN rm -rf /d/e && mkdir -m 700 /d/e && echo new > /d/e/new && rmdir /d/f && echo f > /d/f
COPY --chown=5:6 file /d/
CMD ["cat", "/d/two"]
`;

test.serial.before(async (t) => {
	const { base, registry, store } = t.context;
	t.context.context = await makeContext(store, { Dockerfile: dockerfile(base), file: 'copied\n' });
	await build(store, ['-t', `${registry.host}/overlaybd`, '--push', t.context.context]);
	t.context.tree = await withRootfs(store, registry.host, 'overlaybd', listTree);
});

/** A directory of the store for what a test exports. */
function outputDirectory(store: TestStore): Promise<string> {
	return mkdtemp(path.join(store.directory, 'output-'));
}

/** The blobs of an OCI layout directory. */
class Layout {
	constructor(private readonly directory: string) {}

	file({ digest }: Descriptor): string {
		return path.join(this.directory, 'blobs', 'sha256', digest.slice('sha256:'.length));
	}

	async index(): Promise<{ readonly manifests: readonly Descriptor[] }> {
		return JSON.parse(await readFile(path.join(this.directory, 'index.json'), 'utf8')) as { manifests: Descriptor[] };
	}

	/** The only manifest; every blob it names has the digest and size it says. */
	async manifest(): Promise<Manifest> {
		const [root] = (await this.index()).manifests;
		if (!root) throw new Error('no manifest');
		const manifest = JSON.parse((await this.checked(root)).toString()) as Manifest;
		for (const descriptor of [manifest.config, ...manifest.layers]) await this.checked(descriptor);
		return manifest;
	}

	async checked(descriptor: Descriptor): Promise<Buffer> {
		const bytes = await readFile(this.file(descriptor));
		if (digestOf(bytes) !== descriptor.digest || bytes.length !== descriptor.size) throw new Error(`blob ${descriptor.digest} is another`);
		return bytes;
	}
}

async function untar(archive: string, directory: string): Promise<Layout> {
	await run('tar', ['-C', directory, '-xf', archive]);
	return new Layout(directory);
}

for (const compression of ['gzip', 'zstd', 'uncompressed']) {
	test.serial(`an OCI archive with ${compression} layers unpacks to the same files`, async (t) => {
		const { context, store, tree } = t.context;
		const out = await outputDirectory(store);
		await build(store, ['--output', `type=oci,dest=${out}/image.tar,compression=${compression},force-compression=true`, context]);
		const layout = await untar(`${out}/image.tar`, await outputDirectory(store));
		const manifest = await layout.manifest();
		const suffix = compression === 'uncompressed' ? '' : `+${compression}`;
		t.deepEqual(manifest.layers.map(({ mediaType, annotations }) => [mediaType, annotations]), Array(5).fill([`application/vnd.oci.image.layer.v1.tar${suffix}`, undefined]));
		const config = JSON.parse((await layout.checked(manifest.config)).toString()) as { rootfs: { diff_ids: string[] } };
		for (const [i, layer] of manifest.layers.entries()) {
			const program = { gzip: 'zcat', zstd: 'zstdcat', uncompressed: 'cat' }[compression] ?? '';
			const { stdout } = await run(program, [layout.file(layer)], { encoding: 'buffer', maxBuffer: 1 << 28 });
			t.is(digestOf(stdout), config.rootfs.diff_ids[i] ?? '');
		}
		await unpackLayers(manifest.layers.map((layer) => layout.file(layer)), `${out}/root`);
		t.deepEqual(await listTree(`${out}/root`), tree);
		await nothingLeft(t, store);
	});
}

test.serial('a changeset holds what its step changed, with whiteouts for what it removed', async (t) => {
	const { context, store } = t.context;
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=oci,dest=${out}/image.tar,compression=uncompressed`, context]);
	const layout = await untar(`${out}/image.tar`, out);
	const { layers } = await layout.manifest();
	const entries = await Promise.all(layers.map(async (layer, i) => (i === 0 ? [] : (await readTar(await layout.checked(layer))).map(({ name }) => name).sort())));
	t.deepEqual(entries.slice(1), [
		['d/', 'd/e/', 'd/e/old', 'd/f/', 'd/hard', 'd/link', 'd/one'],
		['bin/', 'bin/.wh.vi', 'd/', 'd/.wh.link', 'd/two'],
		['d/', 'd/e/', 'd/e/.wh.old', 'd/e/new', 'd/f'],
		['d/', 'd/file'],
	]);
});

test.serial('an OCI archive has overlaybd layers unless told otherwise', async (t) => {
	const { context, registry, store } = t.context;
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=oci,dest=${out}/image.tar,annotation.org.example.note=hello`, '-t', 'example.com/some/name:tag', context]);
	const layout = await untar(`${out}/image.tar`, out);
	const manifest = await layout.manifest();
	t.deepEqual(manifest.layers, (await getManifest(registry.host, 'overlaybd')).manifest.layers);
	t.deepEqual(manifest.annotations, { 'org.example.note': 'hello' });
	const [named] = (await layout.index()).manifests;
	t.is(named?.annotations?.['org.opencontainers.image.ref.name'], 'tag');
	t.is(named?.annotations?.['io.containerd.image.name'], 'example.com/some/name:tag');
	// A layout skopeo takes.
	await run('skopeo', ['copy', '--dest-tls-verify=false', `oci-archive:${out}/image.tar`, `docker://${registry.host}/from-archive:latest`]);
	t.deepEqual((await getConfig(registry.host, 'from-archive')).config.Cmd, ['cat', '/d/two']);
});

test.serial('an OCI layout directory is written with tar=false', async (t) => {
	const { context, registry, store } = t.context;
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=oci,dest=${out}/layout,tar=false,compression=gzip`, context]);
	await new Layout(`${out}/layout`).manifest();
	await run('skopeo', ['copy', '--dest-tls-verify=false', `oci:${out}/layout`, `docker://${registry.host}/from-layout:latest`]);
	t.deepEqual((await getConfig(registry.host, 'from-layout')).config.Cmd, ['cat', '/d/two']);
});

test.serial('a docker archive is what docker load and skopeo take', async (t) => {
	const { context, registry, store } = t.context;
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=docker,dest=${out}/image.tar`, '-t', 'some/name:tag', '-t', 'other', context]);
	const layout = await untar(`${out}/image.tar`, out);
	t.deepEqual((await readdir(out)).sort(), ['blobs', 'image.tar', 'index.json', 'manifest.json', 'oci-layout']);
	const manifest = await layout.manifest();
	const shape = JSON.parse(await readFile(`${out}/manifest.json`, 'utf8')) as unknown;
	const blob = ({ digest }: Descriptor): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;
	t.deepEqual(shape, [{ Config: blob(manifest.config), RepoTags: ['some/name:tag', 'other:latest'], Layers: manifest.layers.map(blob) }]);
	await run('skopeo', ['copy', '--dest-tls-verify=false', `docker-archive:${out}/image.tar:some/name:tag`, `docker://${registry.host}/from-docker:latest`]);
	t.deepEqual((await getConfig(registry.host, 'from-docker')).config.Cmd, ['cat', '/d/two']);
});

test.serial('a pushed image with ordinary layers takes those of its ordinary base as they are', async (t) => {
	const { context, registry: { host }, store, tree } = t.context;
	await build(store, ['--output', `type=image,name=${host}/ordinary,push=true,compression=gzip`, context]);
	const [base, ordinary] = await Promise.all([getManifest(host, 'base'), getManifest(host, 'ordinary')]);
	t.deepEqual(ordinary.manifest.layers[0], base.manifest.layers[0]);
	t.true(ordinary.manifest.layers.every(({ annotations, mediaType }) => annotations === undefined && mediaType.endsWith('+gzip')));
	const root = path.join(await outputDirectory(store), 'root');
	await unpackLayers(await downloadLayers(store, host, 'ordinary'), root);
	t.deepEqual(await listTree(root), tree);
});

test.serial('ordinary layers are made of an overlaybd base too', async (t) => {
	const { registry: { host }, tree } = t.context;
	const store = await ownStore(t);
	const context = await makeContext(store, { Dockerfile: `FROM ${host}/overlaybd\nRUN rm /d/two && echo top > /top\n` });
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=oci,dest=${out}/image.tar,compression=gzip`, context]);
	const layout = await untar(`${out}/image.tar`, out);
	const { layers } = await layout.manifest();
	t.is(layers.length, 6);
	await unpackLayers(layers.map((layer) => layout.file(layer)), `${out}/root`);
	const { top, ...others } = await listTree(`${out}/root`);
	const { 'd/two': _, ...expected } = tree;
	t.regex(top ?? '', /dG9wCg==$/);
	t.deepEqual(others, expected);
	await nothingLeft(t, store);
});

test.serial('tar and local hold the root file system', async (t) => {
	const { context, store, tree } = t.context;
	const out = await outputDirectory(store);
	await build(store, ['--output', `type=tar,dest=${out}/root.tar`, '--output', `type=local,dest=${out}/local`, context]);
	await unpackLayers([`${out}/root.tar`], `${out}/root`);
	// Go's tar, and so BuildKit's, rounds times to the nearest second here, where it cuts them off in layers.
	t.deepEqual(without(/ \d{10} /, await listTree(`${out}/root`)), without(/ \d{10} /, tree));
	// A client's files belong to the client.
	t.deepEqual(without(/ \d+:\d+/, await listTree(`${out}/local`)), without(/ \d+:\d+/, tree));

	const { stdout } = await build(store, ['--output', '-', await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY file /\n', file: 'to stdout\n' })]);
	t.deepEqual((await readTar(Buffer.from(stdout))).map(({ name, content }) => [name, content.toString()]), [['file', 'to stdout\n']]);
	await nothingLeft(t, store);
});

function without(pattern: RegExp, tree: Readonly<Record<string, string>>): Record<string, string> {
	return Object.fromEntries(Object.entries(tree).map(([name, text]) => [name, text.replace(pattern, ' ')]));
}

test.serial('--metadata-file and --iidfile say what was built', async (t) => {
	const { context, registry: { host }, store } = t.context;
	const out = await outputDirectory(store);
	const { stdout } = await build(store, ['--progress', 'quiet', '-t', `${host}/described`, '--push', '--metadata-file', `${out}/metadata.json`, '--iidfile', `${out}/iid`, context]);
	const { digest, manifest, bytes } = await getManifest(host, 'described');
	t.is(await readFile(`${out}/iid`, 'utf8'), manifest.config.digest);
	t.is(stdout, `${manifest.config.digest}\n`);
	t.deepEqual(JSON.parse(await readFile(`${out}/metadata.json`, 'utf8')), {
		'containerimage.config.digest': manifest.config.digest,
		'containerimage.descriptor': { mediaType: manifest.mediaType, digest, size: bytes.length, platform: { architecture: nodeArchitecture(), os: 'linux' } },
		'containerimage.digest': digest,
		'image.name': `${host}/described`,
	});
	t.deepEqual((await readdir(out)).sort(), ['iid', 'metadata.json']);

	// After a failure there is neither.
	const failing = await makeContext(store, { Dockerfile: `FROM ${host}/base\nRUN false\n` });
	t.is((await runObd(store, ['--metadata-file', `${out}/metadata2.json`, '--iidfile', `${out}/iid`, failing])).code, 1);
	t.deepEqual(await readdir(out), ['metadata.json']);
});

test.serial('exports that cannot be written fail with their place', async (t) => {
	const { context, store } = t.context;
	const out = await outputDirectory(store);
	for (const output of [`type=oci,dest=${out}/missing/image.tar`, `type=docker,dest=${out}/missing/image.tar`, `type=tar,dest=${out}/missing/root.tar`, 'type=local,dest=/proc/nowhere']) {
		const { code, stderr } = await runObd(store, ['--output', output, context]);
		t.is(code, 1, output);
		t.regex(stderr, /missing|\/proc\/nowhere/, output);
	}
	for (const output of ['type=oci', 'type=docker,dest=x,compression=overlaybd', 'type=oci,dest=x,compression=estargz', 'type=image,push=true', 'type=nonsense']) {
		const { code, stderr } = await runObd(store, ['--output', output, context]);
		t.is(code, output === 'type=oci' ? 0 : 1, `${output}: ${stderr}`);
	}
	t.deepEqual(await readdir(out), []);
	await t.throwsAsync(stat(path.join(store.directory, 'x')), { code: 'ENOENT' });
	await nothingLeft(t, store);
});
