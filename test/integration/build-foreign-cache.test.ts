// --cache-to and --cache-from: what one builder has done, another one need not.
import { cp, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { digestOf, getManifest, pushBlob, pushManifest, type Descriptor } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, steps, type TestStore } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const configType = 'application/vnd.buildkit.cacheconfig.v0';

/** Two stages: of the first only a file is in the result. */
const project = (base: string): Record<string, string> => ({
	Dockerfile: `FROM ${base} AS tools
COPY input .
RUN cat input > /made && echo tools > /other
FROM ${base}
WORKDIR /app
COPY --from=tools /made .
RUN cat made made > twice
`,
	input: 'input\n',
});

/** What became of the steps but FROM. */
function states(stderr: string): Record<string, string> {
	const instructions = steps(stderr).filter(({ name }) => /^\[\S+ \d+\/\d+\] (?!FROM)/.test(name));
	return Object.fromEntries(instructions.map(({ name, state }) => [name.replace(/^\[(\S+) \d+\/\d+\] (\S+).*/, '$1 $2'), state]));
}

const allCached = { 'stage-1 WORKDIR': 'CACHED', 'stage-1 COPY': 'CACHED', 'stage-1 RUN': 'CACHED' };

async function exported(store: TestStore, args: readonly string[], context: string): Promise<{ readonly stderr: string; readonly twice: string }> {
	const out = await mkdtemp(path.join(store.directory, 'out-'));
	const { stderr } = await build(store, [...args, '-o', out, context]);
	return { stderr, twice: await readFile(path.join(out, 'app/twice'), 'utf8') };
}

for (const [kind, attributes] of [['manifest', ''], ['index', ',image-manifest=false'], ['docker index', ',oci-mediatypes=false']] as const) {
	test.serial(`a registry holds the cache as ${kind}: another store runs nothing`, async (t) => {
		const { base, registry: { host } } = t.context;
		const first = await ownStore(t);
		const name = `cache-${kind.replace(' ', '-')}:v1`;
		const context = await makeContext(first, project(base));
		const { stderr } = await build(first, ['--cache-to', `type=registry,ref=${host}/${name},mode=max${attributes}`, context]);
		t.regex(stderr, /exporting cache to registry\n(?:.*\n)*.*writing cache .*manifest sha256:/);
		const second = await ownStore(t);
		const result = await exported(second, ['--cache-from', `type=registry,ref=${host}/${name}`], context);
		t.like(states(result.stderr), allCached, result.stderr);
		t.regex(result.stderr, /importing cache manifest from .*cache-/);
		t.is(result.twice, 'input\ninput\n');
		// What is changed runs, on top of what is cached.
		await writeFile(path.join(context, 'Dockerfile'), `${project(base)['Dockerfile']}RUN cat twice twice > four\n`);
		const more = await exported(await ownStore(t), ['--cache-from', `${host}/${name}`], context);
		t.is(steps(more.stderr).filter(({ name, state }) => /^\[\S+ \d+\/\d+\]/.test(name) && state === 'DONE').length, 1, more.stderr);
		await nothingLeft(t, second);
	});
}

test.serial('mode=min knows the steps of the result only', async (t) => {
	const { base, registry: { host } } = t.context;
	const first = await ownStore(t);
	const context = await makeContext(first, project(base));
	await build(first, ['--cache-to', `type=registry,ref=${host}/min`, context]);
	const second = await ownStore(t);
	t.like(states((await exported(second, ['--cache-from', `${host}/min`], context)).stderr), { 'stage-1 WORKDIR': 'CACHED', 'stage-1 RUN': 'CACHED' });
	await writeFile(path.join(context, 'Dockerfile'), project(base)['Dockerfile']?.replace('cat made made', 'cat made') ?? '');
	const changed = states((await build(await ownStore(t), ['--cache-from', `${host}/min`, context])).stderr);
	t.is(changed['stage-1 RUN'], 'DONE');
	t.not(changed['tools RUN'], 'CACHED', 'the other stage is not in the cache');
});

test.serial('a directory holds the cache, by tag; the store gets what is missing from it', async (t) => {
	const { base } = t.context;
	const first = await ownStore(t);
	const context = await makeContext(first, project(base));
	const cache = path.join(first.directory, 'cache');
	await build(first, ['--cache-to', `type=local,dest=${cache},mode=max`, context]);
	await build(first, ['--cache-to', `type=local,dest=${cache},mode=max,tag=other`, context]);
	const index = JSON.parse(await readFile(`${cache}/index.json`, 'utf8')) as { manifests: Descriptor[] };
	t.deepEqual(index.manifests.map(({ annotations }) => annotations?.['org.opencontainers.image.ref.name']), ['latest', 'other']);
	const second = await ownStore(t);
	const { stderr, twice } = await exported(second, ['--cache-from', `type=local,src=${cache}`], context);
	t.like(states(stderr), allCached);
	t.is(twice, 'input\ninput\n');
	const none = await exported(await ownStore(t), ['--cache-from', `type=local,src=${cache}/none`], context);
	t.regex(none.stderr, /WARNING: local cache import at .*none skipped due to err: ENOENT/);

	// Layers that are not what they are called, or not there, are no hits.
	const damaged = path.join(first.directory, 'damaged');
	await cp(cache, damaged, { recursive: true });
	const manifest = JSON.parse(await readFile(`${damaged}/blobs/sha256/${index.manifests[0]?.digest.slice(7)}`, 'utf8')) as { layers: Descriptor[] };
	for (const [i, { digest, size }] of manifest.layers.entries()) {
		const file = `${damaged}/blobs/sha256/${digest.slice(7)}`;
		if (i % 2 === 0) await rm(file);
		else await writeFile(file, Buffer.alloc(size, 1));
	}
	const again = await exported(await ownStore(t), ['--cache-from', `type=local,src=${damaged}`], context);
	t.is(again.twice, 'input\ninput\n');
	t.false(Object.values(states(again.stderr)).includes('CACHED'));
	await nothingLeft(t, second);
});

test.serial('inline: the image itself is the cache', async (t) => {
	const { base, registry: { host } } = t.context;
	const first = await ownStore(t);
	const context = await makeContext(first, project(base));
	await build(first, ['-t', `${host}/inline`, '--push', '--cache-to', 'type=inline', context]);
	await build(first, ['-t', `${host}/ordinary`, '-o', 'type=image,push=true,compression=gzip', '--cache-to', 'type=inline', context]);
	const { stderr, twice } = await exported(await ownStore(t), ['--cache-from', `${host}/inline`], context);
	t.like(states(stderr), { 'stage-1 WORKDIR': 'CACHED', 'stage-1 RUN': 'CACHED' });
	t.is(twice, 'input\ninput\n');
	const ordinary = await exported(await ownStore(t), ['--cache-from', `${host}/ordinary`], context);
	t.regex(ordinary.stderr, /ERROR: no cache in sha256:/, 'ordinary layers cannot be used, so there is no cache');
	t.is(ordinary.twice, 'input\ninput\n');
});

test.serial('what is in a cache is not trusted', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const context = await makeContext(store, project(base));
	await build(store, ['--cache-to', `type=registry,ref=${host}/good,mode=max`, context]);
	const { manifest } = await getManifest(host, 'good');
	const config = JSON.parse((await (await fetch(`http://${host}/v2/good/blobs/${manifest.config.digest}`)).text())) as { layers: { blob: string; parent: number }[]; records: { digest: string; layers?: { layer: number }[]; inputs?: { link: number }[][] }[] };
	const variants: Record<string, unknown> = {
		'no object': [],
		'not json': 'x',
		'no lists': { layers: 5, records: 'a' },
		'null records': { layers: [null, 1], records: [null, 'x', {}] },
		'layers out of range': { ...config, records: config.records.map((record) => ({ ...record, ...(record.layers && { layers: [{ layer: 1e9 }] }) })) },
		'parents in a circle': { ...config, layers: config.layers.map((layer, i) => ({ ...layer, parent: i })) },
		'links in a circle': { ...config, records: config.records.map(({ digest }, i) => ({ digest, inputs: [[{ link: i }]] })) },
		'layers that are not in the manifest': { ...config, layers: config.layers.map((layer) => ({ ...layer, blob: digestOf(Buffer.from(layer.blob)) })) },
	};
	for (const [name, value] of Object.entries(variants)) {
		const bytes = Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
		const bad = await pushBlob(host, 'good', configType, bytes);
		await pushManifest(host, 'good:bad', { ...manifest, config: bad });
		const { stderr, twice } = await exported(await ownStore(t), ['--cache-from', `${host}/good:bad`], context);
		t.is(twice, 'input\ninput\n', name);
		t.false(Object.values(states(stderr)).includes('CACHED'), name);
	}
	const missing = await exported(await ownStore(t), ['--cache-from', `${host}/no-such-cache`], context);
	t.regex(missing.stderr, /importing cache manifest from .*no-such-cache.*\n#\d+ ERROR: .*not found/);
	t.is(missing.twice, 'input\ninput\n');
	const { base: image } = t.context;
	t.regex((await exported(await ownStore(t), ['--cache-from', image], context)).stderr, /ERROR: no cache in/);
});

test.serial('caches that cannot be written fail the build, unless told not to; others are refused', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, project(base));
	const failed = await runObd(store, ['--cache-to', 'type=registry,ref=127.0.0.1:1/x', context]);
	t.is(failed.code, 1);
	t.regex(failed.stderr, /exporting cache to registry:?/);
	t.is((await runObd(store, ['--cache-to', 'type=registry,ref=127.0.0.1:1/x,ignore-error=true', context])).code, 0);
	for (const [value, message] of [
		['type=gha', /cache exporter "gha" is not supported by obd: use registry, local or inline/],
		['type=nothing', /unknown cache exporter: "nothing"/],
		['type=registry', /registry cache exporter requires ref/],
		['type=inline,mode=most', /invalid cache export mode "most"/],
		['type=registry,ref=x,compression=rar', /unsupported layer compression type: "rar"/],
	] as const) {
		const { code, stderr } = await runObd(store, ['--cache-to', value, context]);
		t.is(code, 1);
		t.regex(stderr, message);
	}
	const zstd = await runObd(store, ['--cache-to', `type=local,dest=${path.join(store.directory, 'zstd')},compression=zstd`, context]);
	t.is(zstd.code, 0);
	t.regex(zstd.stderr, /compression=zstd makes no difference: a cache of obd holds block layers/);
	t.deepEqual((await readdir(store.tmp)), []);
	await nothingLeft(t, store);
});
