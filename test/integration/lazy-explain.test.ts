// `--explain-reads`: the files behind the bytes that a build fetched of its lazy base.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { busybox, getManifest, pushBase, tarOf } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, type ProgramResult, type TestStore } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const size = 1_000_000;

test.serial.before(async (t) => {
	const { registry: { host }, store } = t.context;
	const files = Array.from({ length: 8 }, (_, i) => ({ name: `data/noise${i}`, content: randomBytes(size) }));
	await pushBase(host, 'plain', [await tarOf([...busybox(), { name: 'data', type: 'directory' }, ...files])]);
	await build(store, ['-t', `${host}/lazy`, '--push', await makeContext(store, { Dockerfile: `FROM ${host}/plain\nRUN rm /data/noise6; echo hi > /hi\n` })]);
});

interface Layer {
	readonly fetched: number;
	readonly size: number;
	readonly files: readonly { readonly path: string; readonly bytes: number }[];
}
type Explained = Readonly<Record<string, Layer>>;

/** Builds with the flag: what progress says, and the metadata file. */
async function explained(store: TestStore, dockerfile: string): Promise<{ readonly stderr: string; readonly layers: Explained | undefined }> {
	const metadata = path.join(store.directory, 'metadata.json');
	const { stderr }: ProgramResult = await build(store, ['--no-cache', '--explain-reads', '--metadata-file', metadata, await makeContext(store, { Dockerfile: dockerfile })]);
	return { stderr, layers: (JSON.parse(await readFile(metadata, 'utf8')) as { 'obd.fetched'?: Explained })['obd.fetched'] };
}

function sum(parts: readonly { readonly bytes: number }[]): number {
	return parts.reduce((total, { bytes }) => total + bytes, 0);
}

test.serial('the file that a step reads is named, with the bytes that were fetched for it; they add up', async (t) => {
	const { registry: { host } } = t.context;
	const store = await ownStore(t);
	const { stderr, layers = {} } = await explained(store, `FROM ${host}/lazy\nRUN cat /data/noise3 > /dev/null\n`);
	const { manifest } = await getManifest(host, 'lazy');
	t.deepEqual(new Set(Object.keys(layers)), new Set(manifest.layers.map(({ digest }) => digest)));
	for (const layer of Object.values(layers)) {
		t.true(layer.fetched > 0);
		t.is(sum(layer.files), layer.fetched);
	}
	const base = layers[manifest.layers[0]?.digest ?? '']?.files ?? [];
	const read = base.find(({ path }) => path === '/data/noise3')?.bytes ?? 0;
	t.true(read >= size && read < size * 1.1, `${read} bytes of the file that was read`);
	t.deepEqual(base, [...base].sort((a, b) => b.bytes - a.bytes), 'the largest part comes first');
	t.true(base.some(({ path }) => path === '[inode tables]'), JSON.stringify(base));
	t.true(base.some(({ path }) => path === '/bin/busybox'), 'the program that read it');
	t.regex(stderr, new RegExp(`^#\\d+ explaining what was fetched$`, 'm'));
	t.regex(stderr, new RegExp(`${manifest.layers[0]?.digest}: ${layers[manifest.layers[0]?.digest ?? '']?.fetched} B of \\d+ B \\([0-9.]+ %\\) fetched`));
	t.regex(stderr, new RegExp(` ${read} B  /data/noise3$`, 'm'));

	// What the block cache has is not fetched again, and not explained.
	const again = await explained(store, `FROM ${host}/lazy\nRUN cat /data/noise3 > /dev/null\n`);
	for (const layer of Object.values(again.layers ?? {})) t.like(layer, { fetched: 0, files: [] });
	t.regex(again.stderr, / 0 B of \d+ B \(0\.0 %\) fetched/);
	await nothingLeft(t, store);
});

test.serial('a layer that two bases share is told by both: a file that the one has removed is the file it is of the other', async (t) => {
	const { registry: { host }, store: maker } = t.context;
	await build(maker, ['-t', `${host}/without`, '--push', await makeContext(maker, { Dockerfile: `FROM ${host}/lazy\nRUN rm /data/noise3; mv /data/noise4 /data/moved\n` })]);
	const shared = (await getManifest(host, 'lazy')).manifest.layers[0]?.digest ?? '';
	t.is((await getManifest(host, 'without')).manifest.layers[0]?.digest, shared);
	const store = await ownStore(t);
	// The one without the files comes first.
	const { layers = {} } = await explained(store, `FROM ${host}/without AS without\nRUN cat /data/noise5 > /five\nFROM ${host}/lazy\nCOPY --from=without /five /five\nRUN cat /data/noise3 > /dev/null\n`);
	for (const layer of Object.values(layers)) t.is(sum(layer.files), layer.fetched);
	const bytes = (name: string): number => layers[shared]?.files.find(({ path }) => path === name)?.bytes ?? 0;
	for (const name of ['/data/noise3', '/data/noise5']) t.true(bytes(name) >= size && bytes(name) < size * 1.1, `${bytes(name)} bytes of ${name}`);
	await nothingLeft(t, store);
});

test.serial('a base of which no file is read costs metadata only, and it is called so', async (t) => {
	const { registry: { host } } = t.context;
	const store = await ownStore(t);
	const { layers = {} } = await explained(store, `FROM ${host}/lazy\nWORKDIR /made\n`);
	const parts = Object.values(layers).flatMap(({ files }) => files);
	t.true(parts.length > 0);
	const metadata = parts.filter(({ path }) => path.startsWith('['));
	t.true(sum(metadata) > 0);
	// An extent of the cache is 64 KiB: what lies beside the metadata comes with it.
	t.true(parts.filter(({ path }) => path.startsWith('/data/')).every(({ bytes }) => bytes < size / 2), JSON.stringify(parts));
	for (const layer of Object.values(layers)) t.is(sum(layer.files), layer.fetched);
});

test.serial('of an ordinary base nothing is read lazily: there is nothing to explain', async (t) => {
	const { base } = t.context;
	const store = await ownStore(t);
	const { stderr, layers } = await explained(store, `FROM ${base}\nRUN true\n`);
	t.is(layers, undefined);
	t.regex(stderr, /No layer was read from a registry block by block: there is nothing to explain\./);
});
