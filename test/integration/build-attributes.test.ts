// Attributes of exporters, and what BuildKit makes of them: annotations, several platforms, names, times,
// attestations.
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, readdir, stat } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { digestOf, getBlob, getConfig, getManifest, nodeArchitecture, pushBase, pushIndex, tarOf, type Descriptor, type ImageConfig, type Manifest } from './helpers/base-images.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, runObd, type TestStore } from './helpers/obd.js';
import { readTar } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

interface Index {
	readonly mediaType: string;
	readonly manifests: readonly (Descriptor & { readonly artifactType?: string })[];
	readonly annotations?: Readonly<Record<string, string>>;
}

/** An index as the registry has it. */
async function getIndex(host: string, name: string): Promise<Index & { readonly digest: string }> {
	const { manifest, digest } = await getManifest(host, name);
	return { ...(manifest as unknown as Index), digest };
}

async function json<T>(host: string, repository: string, digest: string): Promise<T> {
	return JSON.parse((await getBlob(host, repository, digest)).toString()) as T;
}

function directory(store: TestStore): Promise<string> {
	return mkdtemp(path.join(store.directory, 'output-'));
}

const platforms = ['linux/amd64', 'linux/arm64'] as const;
const twoPlatforms = 'FROM scratch\nARG TARGETARCH\nCOPY $TARGETARCH /arch\nCOPY both /both\n';
const twoFiles = { Dockerfile: twoPlatforms, amd64: 'amd64\n', arm64: 'arm64\n', both: 'both\n' };

test.serial('several platforms become an index; annotations go where they are meant for', async (t) => {
	const { store, registry: { host } } = t.context;
	const context = await makeContext(store, twoFiles);
	const annotations = [
		'annotation.all=1', 'annotation-manifest[linux/arm64].own=2', 'annotation-manifest-descriptor[linux/amd64].descriptor=3', 'annotation-index.index=4',
	].join(',');
	await build(store, ['--platform', platforms.join(','), '-o', `type=image,name=${host}/multi,push=true,${annotations}`, '--metadata-file', `${store.directory}/md.json`, context]);
	const index = await getIndex(host, 'multi');
	t.is(index.mediaType, 'application/vnd.oci.image.index.v1+json');
	t.deepEqual(index.annotations, { index: '4' });
	t.deepEqual(index.manifests.map(({ platform, annotations: on }) => [`${platform?.os}/${platform?.architecture}`, on]), [['linux/amd64', { descriptor: '3' }], ['linux/arm64', undefined]]);
	for (const [i, expected] of [{ all: '1' }, { all: '1', own: '2' }].entries()) {
		const { manifest } = await getManifest(host, `multi@${index.manifests[i]?.digest ?? ''}`);
		t.deepEqual({ ...manifest.annotations }, { ...expected });
		const config = await json<ImageConfig>(host, 'multi', manifest.config.digest);
		t.is(`linux/${config.architecture}`, platforms[i] ?? '');
	}
	t.is((JSON.parse(await readFile(`${store.directory}/md.json`, 'utf8')) as Record<string, unknown>)['containerimage.digest'], index.digest);

	const single = (attributes: string): Promise<string> => runObd(store, ['-o', `type=image,name=${host}/refused,push=true,${attributes}`, context]).then(({ stderr }) => stderr);
	t.regex(await single('annotation-index.x=y'), /index annotations not supported for single platform export/);
	t.regex(await single('annotation-nowhere.x=y'), /unrecognized annotation type nowhere/);
	t.regex(await single('annotation[linux/s390x].x=y'), /invalid annotation: no platform linux\/s390x found in source/);
	t.regex(await single('oci-mediatypes=false,annotation-manifest-descriptor.x=y'), /cannot export annotations with "oci-mediatypes=false"/);
	t.regex(await single('push-by-digest=maybe'), /non-bool value specified for push-by-digest/);
	await nothingLeft(t, store);
});

test.serial('files of several platforms lie side by side, or together', async (t) => {
	const { store } = t.context;
	const context = await makeContext(store, twoFiles);
	const out = await directory(store);
	const args = ['--platform', platforms.join(',')];
	await build(store, [...args, '-o', `type=local,dest=${out}/local`, '-o', `type=tar,dest=${out}/tar`, context]);
	t.is(await readFile(`${out}/local/linux_arm64/arch`, 'utf8'), 'arm64\n');
	t.deepEqual((await readTar(await readFile(`${out}/tar`))).filter(({ type }) => type === 'file').map(({ name, content }) => `${name} ${content.toString().trim()}`), [
		'linux_amd64/arch amd64', 'linux_amd64/both both', 'linux_arm64/arch arm64', 'linux_arm64/both both',
	]);
	const together = await runObd(store, [...args, '-o', `type=local,platform-split=false,dest=${out}/one`, context]);
	t.regex(together.stderr, /cannot overwrite \S+ from linux\/amd64 with linux\/arm64 when split option is disabled/);
	await build(store, ['--platform', 'linux/arm64', '-o', `type=local,platform-split=true,dest=${out}/split`, context]);
	t.deepEqual(await readdir(`${out}/split`), ['linux_arm64']);
	await nothingLeft(t, store);
});

test.serial('names: by digest only, canonical, dangling', async (t) => {
	const { store, registry: { host } } = t.context;
	const context = await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY Dockerfile /\n' });
	const named = async (attributes: string, push = 'push=true'): Promise<string | undefined> => {
		await build(store, ['-o', `type=image,${push},${attributes}`, '--metadata-file', `${store.directory}/md.json`, context]);
		return (JSON.parse(await readFile(`${store.directory}/md.json`, 'utf8')) as Record<string, string>)['image.name'];
	};
	await named(`"name=${host}/by-digest",push-by-digest=true`);
	t.is(((await (await fetch(`http://${host}/v2/by-digest/tags/list`)).json()) as { tags?: unknown }).tags ?? null, null);
	t.is(await named(`"name=${host}/two:a,${host}/two:b",name-canonical=true`), `${host}/two:a,${host}/two:b`);
	t.is((await getManifest(host, 'two:a')).digest, (await getManifest(host, 'two:b')).digest);
	t.is(await named(`dangling-name-prefix=${host}/dangling`, 'push=false'), `${host}/dangling@${(await getManifest(host, 'two:a')).digest}`);
	const noted = await build(store, ['-o', 'type=image,unpack=true,store=false,buildinfo=true', context]);
	t.regex(noted.stderr, /exporter option "unpack" is ignored/);
	t.regex(noted.stderr, /exporter option "buildinfo" is ignored/);
	await nothingLeft(t, store);
});

test.serial('SOURCE_DATE_EPOCH: times in the config, with rewrite-timestamp of the files; not those of the base', async (t) => {
	const { store, base, registry: { host } } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo new > /new && touch -d '2001-01-01 00:00:00' /old\nRUN echo newer > /newer\n` });
	const env = { SOURCE_DATE_EPOCH: '1700000100' };
	const created = '2023-11-14T22:15:00Z';
	await build(store, ['-t', `${host}/epoch`, '--push', context], { env });
	const config = await getConfig(host, 'epoch');
	t.is(config.created, created);
	t.deepEqual(config.history.map((entry) => entry.created), ['2023-11-14T22:13:20Z', created, created]);

	const timesIn = async (name: string, compression: string): Promise<Record<string, number>> => {
		const out = await directory(store);
		await build(store, ['-t', `${host}/${name}`, '-o', `type=image,push=true,rewrite-timestamp=true,compression=${compression}`, context], { env });
		// As files, whatever the layers are.
		await build(store, ['-o', `${out}/root`, await makeContext(store, { Dockerfile: `FROM ${host}/${name}\n` })]);
		const times: Record<string, number> = {};
		for (const file of ['new', 'newer', 'old', 'bin/busybox']) times[file] = (await stat(path.join(out, 'root', file))).mtimeMs / 1000;
		return times;
	};
	const expected = { 'new': 1_700_000_100, 'newer': 1_700_000_100, 'old': 978_307_200, 'bin/busybox': 1_700_000_000 };
	t.deepEqual(await timesIn('rewritten-gzip', 'gzip'), expected);
	t.deepEqual(await timesIn('rewritten-block', 'overlaybd'), expected);
	const [first, again] = [await getManifest(host, 'rewritten-block'), await timesIn('rewritten-block', 'overlaybd').then(() => getManifest(host, 'rewritten-block'))];
	t.is(again.digest, first.digest, 'the same image again');
	const unset = await build(store, ['-o', 'type=image,rewrite-timestamp=true', context]);
	t.regex(unset.stderr, /rewrite-timestamp is specified, but no source-date-epoch was found/);
	t.regex((await runObd(store, ['-o', 'type=image,source-date-epoch=soon', context])).stderr, /invalid source-date-epoch/);
	await nothingLeft(t, store);
});

interface Statement {
	readonly _type: string;
	readonly predicateType: string;
	readonly subject: readonly { readonly name: string; readonly digest: Readonly<Record<string, string>> }[];
	readonly predicate: {
		readonly buildDefinition: {
			readonly resolvedDependencies?: readonly { readonly uri: string; readonly digest: Readonly<Record<string, string>> }[];
			readonly externalParameters: { readonly request: Readonly<Record<string, unknown>> };
			readonly internalParameters: { readonly buildConfig?: { readonly llbDefinition: readonly { readonly id: string }[] } };
		};
		readonly runDetails: { readonly metadata: Readonly<Record<string, unknown>> };
	};
}

test.serial('provenance: a manifest of its own in the index, about the image, naming what went in', async (t) => {
	const { store, base, registry: { host } } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nARG WHO\nRUN --mount=type=secret,id=s,required=false echo $WHO > /who\nCOPY Dockerfile /\n` });
	const md = `${store.directory}/md-provenance.json`;
	const push = async (provenance: string): Promise<{ readonly image: Descriptor; readonly manifest: Manifest & { artifactType?: string; subject?: Descriptor }; readonly statement: Statement }> => {
		await build(store, ['-t', `${host}/attested:v1`, '--push', '--provenance', provenance, '--build-arg', 'WHO=me', '--metadata-file', md, context]);
		const [image, attestation, ...more] = (await getIndex(host, 'attested:v1')).manifests;
		if (!image || !attestation || more.length > 0) throw new Error('not an image and its attestations');
		t.deepEqual(attestation.platform, { architecture: 'unknown', os: 'unknown' });
		t.deepEqual(attestation.annotations, { 'vnd.docker.reference.digest': image.digest, 'vnd.docker.reference.type': 'attestation-manifest' });
		const { manifest } = await getManifest(host, `attested@${attestation.digest}`);
		const [layer] = manifest.layers;
		t.is(layer?.mediaType, 'application/vnd.in-toto+json');
		return { image, manifest, statement: await json<Statement>(host, 'attested', layer?.digest ?? '') };
	};
	const min = await push('mode=min');
	t.is(min.manifest.artifactType, 'application/vnd.docker.attestation.manifest.v1+json');
	t.is(min.manifest.subject?.digest, min.image.digest);
	t.is(min.statement._type, 'https://in-toto.io/Statement/v1');
	t.is(min.statement.predicateType, 'https://slsa.dev/provenance/v1');
	const name = `pkg:docker/${encodeURIComponent(host)}/attested@v1?platform=linux%2F${nodeArchitecture()}`;
	t.deepEqual(min.statement.subject, [{ name, digest: { sha256: min.image.digest.slice(7) } }]);
	const baseDigest = (await getManifest(host, 'base')).digest;
	t.deepEqual(min.statement.predicate.buildDefinition.resolvedDependencies, [{ uri: `pkg:docker/${encodeURIComponent(host)}/base@latest?platform=linux%2F${nodeArchitecture()}`, digest: { sha256: baseDigest.slice(7) } }]);
	t.deepEqual(min.statement.predicate.buildDefinition.externalParameters.request, { frontend: 'dockerfile.v0', locals: [{ name: 'context' }, { name: 'dockerfile' }], compatibilityVersion: 30 });
	t.like(min.statement.predicate.runDetails.metadata['buildkit_completeness'], { request: false, resolvedDependencies: false });

	const max = await push('mode=max');
	t.like(max.statement.predicate.buildDefinition.externalParameters.request, { args: { 'build-arg:WHO': 'me' }, secrets: [{ id: 's', optional: true }] });
	t.true((max.statement.predicate.buildDefinition.internalParameters.buildConfig?.llbDefinition.length ?? 0) >= 4);
	t.true('buildx.build.provenance' in (JSON.parse(await readFile(md, 'utf8')) as object));

	await push('mode=min,version=v0.2');
	t.regex((await runObd(store, ['--provenance', 'mode=some', context])).stderr, /invalid mode "some"/);
	t.regex((await runObd(store, ['--provenance', 'complete-materials=true', context])).stderr, /provenance materials are incomplete\n\n.*\n\nUncaptured local sources:\n {2}- context\n/);
	t.regex((await runObd(store, ['--provenance', 'mode=min', '-o', 'type=image,oci-mediatypes=false', context])).stderr, /cannot export attestations with "oci-mediatypes=false"/);

	// A base with attestations is a base like any other.
	const out = await directory(store);
	await build(store, ['-o', out, await makeContext(store, { Dockerfile: `FROM ${host}/attested:v1\n` })]);
	t.is(await readFile(path.join(out, 'who'), 'utf8'), 'me\n');
	await nothingLeft(t, store);
});

test.serial('provenance beside files: about each of them', async (t) => {
	const { store } = t.context;
	const context = await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY file /dir/\n', file: 'content\n' });
	const out = await directory(store);
	await build(store, ['--provenance=true', '-o', `type=local,dest=${out}/local,attestation-prefix=made-by-`, '-o', `type=tar,dest=${out}/tar`, context]);
	const statement = JSON.parse(await readFile(`${out}/local/made-by-provenance.json`, 'utf8')) as Statement;
	t.deepEqual(statement.subject, [{ name: 'dir/file', digest: { sha256: createHash('sha256').update('content\n').digest('hex') } }]);
	t.deepEqual((await readTar(await readFile(`${out}/tar`))).map(({ name }) => name.replace(/\/$/, '')), ['dir', 'dir/file', 'provenance.json']);
	await build(store, ['--provenance', 'mode=min,inline-only=true', '-o', `${out}/inline`, context]);
	t.deepEqual(await readdir(`${out}/inline`), ['dir']);
	await nothingLeft(t, store);
});

test.serial('an image of several platforms in an archive is one other tools read', async (t) => {
	const { store, registry: { host } } = t.context;
	const tar = await tarOf([{ name: 'file', content: 'x\n' }]);
	await pushIndex(host, 'indexed:v1', [await pushBase(host, 'indexed', [tar], { architecture: 'amd64' }), await pushBase(host, 'indexed', [tar], { architecture: 'arm64' })]);
	const context = await makeContext(store, { Dockerfile: `FROM ${host}/indexed:v1\nCOPY Dockerfile /\n` });
	const out = await directory(store);
	await build(store, ['--platform', platforms.join(','), '--provenance', 'mode=min', '-t', 'many:v1', '-o', `type=oci,compression=gzip,dest=${out}/many.tar`, context]);
	const raw = execFileSync('skopeo', ['inspect', '--raw', `oci-archive:${out}/many.tar`]);
	const index = JSON.parse(raw.toString()) as Index;
	t.is(index.manifests.length, 4, 'two images, two manifests of attestations');
	t.true(digestOf(raw).startsWith('sha256:'));
	for (const architecture of ['amd64', 'arm64']) {
		execFileSync('skopeo', ['--override-arch', architecture, 'copy', '--dest-tls-verify=false', `oci-archive:${out}/many.tar`, `docker://${host}/copied:${architecture}`]);
		t.is((await getConfig(host, `copied:${architecture}`)).architecture, architecture);
	}
	const docker = await runObd(store, ['--platform', platforms.join(','), '-o', `type=docker,dest=${out}/docker.tar`, context]);
	t.regex(docker.stderr, /docker exporter does not currently support exporting manifest lists/);
	await nothingLeft(t, store);
});
