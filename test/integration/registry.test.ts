// The client against the real docker-registry.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { encodeIndex, formatPlatform, mediaTypes, parsePlatform, configPlatform, type Descriptor } from '../../src/image/index.js';
import { bufferSource, fileSource, isRegistryError, onceSource, pushImage, RegistryClient, type ContentCache } from '../../src/registry/index.js';
import { itemsOf, makeImage, makeLayer, missingBlob, pushTestImage } from './helpers/images.js';
import { startRegistry, type TestRegistry } from './helpers/registry.js';

let registry: TestRegistry;
let client: RegistryClient;
let directory: string;
let repositories = 0;

test.before(async () => {
	registry = await startRegistry();
	client = new RegistryClient({ credentials: async () => undefined });
	directory = await mkdtemp(path.join(tmpdir(), 'obd-test-'));
});
test.after.always(async () => {
	client?.close();
	await registry?.stop();
	await rm(directory, { recursive: true, force: true });
});

const newName = () => `${registry.host}/test/r${repositories++}`;

test('an image that was pushed is resolved by tag and by digest', async (t) => {
	const name = newName();
	const image = await pushTestImage(client.repository(name), 'v1');
	for (const reference of [`${name}:v1`, `${name}@${image.manifest.descriptor.digest}`, `${name}:v1@${image.manifest.descriptor.digest}`]) {
		const resolved = await client.resolve(reference);
		t.deepEqual(resolved.target, image.manifest.descriptor);
		t.deepEqual(resolved.descriptor, image.manifest.descriptor);
		t.deepEqual(Buffer.from(resolved.manifestBytes), Buffer.from(image.manifest.bytes));
		t.deepEqual(Buffer.from(resolved.configBytes), Buffer.from(image.config.bytes));
		t.true(resolved.reference.endsWith(`@${image.manifest.descriptor.digest}`));
	}
	t.deepEqual(await client.head(`${name}:v1`), image.manifest.descriptor);
});

test('every tag of a push names the image, and a second push sends nothing', async (t) => {
	const repository = client.repository(newName());
	const image = makeImage('linux', [makeLayer(10), makeLayer(20)]);
	const how: string[] = [];
	const push = () => pushImage(repository, itemsOf(image), [image.manifest], ['a', 'b'], { onPushed: (_, pushed) => how.push(pushed.how) });
	await push();
	t.deepEqual(how.splice(0), ['uploaded', 'uploaded', 'uploaded']);
	await push();
	t.deepEqual(how, ['existed', 'existed', 'existed']);
	t.is((await repository.head('a')).digest, image.manifest.descriptor.digest);
	t.is((await repository.head('b')).digest, image.manifest.descriptor.digest);
});

test('an index leads to the wanted platform, best match first', async (t) => {
	const repository = client.repository(newName());
	const images = ['linux/arm/v6', 'linux/amd64', 'linux/arm/v7'].map((platform) => ({ platform, image: makeImage(platform, [makeLayer(5)]) }));
	const manifests: Descriptor[] = images.map(({ platform, image }) => ({ ...image.manifest.descriptor, platform: parsePlatform(platform) }));
	const index = encodeIndex({ mediaType: mediaTypes.ociIndex, manifests });
	await pushImage(repository, images.flatMap(({ image }) => itemsOf(image)), [...images.map(({ image }) => image.manifest), index], ['multi']);
	const resolved = async (platform: string) => formatPlatform(configPlatform((await client.resolve(`${repository.name}:multi`, { platform: parsePlatform(platform) })).config));
	t.is(await resolved('linux/amd64'), 'linux/amd64');
	t.is(await resolved('linux/arm/v7'), 'linux/arm/v7');
	t.is(await resolved('linux/arm/v6'), 'linux/arm/v6');
	t.is(await resolved('linux/arm64'), 'linux/arm/v7');
	const error = await t.throwsAsync(resolved('linux/s390x'));
	t.is(error?.message, `no match for platform in manifest: not found: ${repository.name}:multi has no image for linux/s390x`);
});

test('entries of an index that do not say their platform are known by their config', async (t) => {
	const repository = client.repository(newName());
	const [arm, amd] = [makeImage('linux/arm64', [makeLayer(5)]), makeImage('linux/amd64', [makeLayer(5)])];
	const index = encodeIndex({ mediaType: mediaTypes.ociIndex, manifests: [arm.manifest.descriptor, amd.manifest.descriptor] });
	await pushImage(repository, [...itemsOf(arm), ...itemsOf(amd)], [arm.manifest, amd.manifest, index], ['plain']);
	const resolved = await client.resolve(`${repository.name}:plain`, { platform: parsePlatform('linux/amd64') });
	t.is(resolved.descriptor.digest, amd.manifest.descriptor.digest);
});

test('an image that is no index is taken whatever its platform', async (t) => {
	const repository = client.repository(newName());
	const image = makeImage('linux/s390x', [makeLayer(5)]);
	await pushImage(repository, itemsOf(image), [image.manifest], ['odd']);
	t.is((await client.resolve(`${repository.name}:odd`, { platform: parsePlatform('linux/amd64') })).config.architecture, 's390x');
});

test('documents the cache has are not asked for, and what a known digest names costs no request', async (t) => {
	const name = newName();
	const image = await pushTestImage(client.repository(name), 'v1');
	const kept = new Map<string, Uint8Array>();
	const cache: ContentCache = {
		get: async (descriptor) => kept.get(descriptor.digest),
		put: async (descriptor, bytes) => void kept.set(descriptor.digest, bytes),
	};
	await client.resolve(`${name}:v1`, { cache });
	t.deepEqual([...kept.keys()], [image.manifest.descriptor.digest, image.config.descriptor.digest]);
	// Nobody listens there: whatever it asked would fail.
	const offline = await new RegistryClient().resolve('127.0.0.1:1/x:v1', { cache, known: image.manifest.descriptor });
	t.deepEqual(offline.descriptor, image.manifest.descriptor);
});

test('what is not there is reported by its name', async (t) => {
	const name = newName();
	const image = await pushTestImage(client.repository(name), 'v1');
	await t.throwsAsync(client.resolve(`${name}:nope`), { name: 'RegistryError', message: `${name}:nope: not found` });
	await t.throwsAsync(client.resolve(name), { message: `${name}:latest: not found` });
	await t.throwsAsync(client.resolve(`${registry.host}/no/where`), { message: `${registry.host}/no/where:latest: not found` });
	const missing = missingBlob();
	const error = await t.throwsAsync(client.repository(name).openBlob(missing).toArray());
	t.true(isRegistryError(error, 'not-found'));
	t.is(error?.message, `${name}@${missing.digest}: not found`);
	t.false(await client.repository(name).hasBlob(missing));
	t.true(await client.repository(name).hasBlob(image.config.descriptor));
});

test('blobs are read whole, from an offset, in parts', async (t) => {
	const repository = client.repository(newName());
	const { layers: [layer] } = await pushTestImage(repository, 'v1', 300_000);
	if (layer === undefined) return t.fail();
	const bytes = Buffer.from(layer.bytes);
	const seen: number[] = [];
	t.true((Buffer.concat(await repository.openBlob(layer.descriptor, { onProgress: (n) => seen.push(n) }).toArray() as Buffer[])).equals(bytes));
	t.is(seen.at(-1), bytes.length);
	const tail: Uint8Array[] = [];
	for await (const chunk of repository.readBlob(layer.descriptor, { offset: 299_990 })) tail.push(chunk);
	t.true(Buffer.concat(tail).equals(bytes.subarray(299_990)));
	for (const [offset, length] of [[0, 1], [0, 300_000], [4096, 8192], [299_999, 1], [5, 0]] as const) {
		t.true((await repository.readRange(layer.descriptor, offset, length)).equals(bytes.subarray(offset, offset + length)));
	}
	t.true((await repository.readRange({ digest: layer.descriptor.digest }, 7, 9)).equals(bytes.subarray(7, 16)));
	await t.throwsAsync(repository.readRange(layer.descriptor, 299_999, 2), { instanceOf: RangeError });
	await t.throwsAsync(repository.readRange({ digest: layer.descriptor.digest }, 400_000, 2), { message: /416/ });
});

test('a download takes what the file holds as its beginning, and starts again when that is wrong', async (t) => {
	const repository = client.repository(newName());
	const { layers: [layer] } = await pushTestImage(repository, 'v1', 200_000);
	if (layer === undefined) return t.fail();
	const file = path.join(directory, 'download');
	const beginnings = [undefined, layer.bytes.subarray(0, 150_000), layer.bytes, Buffer.alloc(150_000), Buffer.alloc(300_000)];
	for (const beginning of beginnings) {
		await rm(file, { force: true });
		if (beginning !== undefined) await writeFile(file, beginning);
		await repository.download(layer.descriptor, file);
		t.true((await readFile(file)).equals(Buffer.from(layer.bytes)));
	}
});

test('blobs go up from memory, a file and a stream; big ones too', async (t) => {
	const repository = client.repository(newName());
	const [empty, small, big] = [makeLayer(0), makeLayer(100), makeLayer(5_000_000)];
	const file = path.join(directory, 'upload');
	await writeFile(file, big.bytes);
	const progress: number[] = [];
	t.deepEqual(await repository.pushBlob(empty.descriptor, bufferSource(empty.bytes)), { how: 'uploaded' });
	t.deepEqual(await repository.pushBlob(small.descriptor, onceSource((async function* () {
		yield small.bytes.subarray(0, 40);
		yield small.bytes.subarray(40);
	})(), 100)), { how: 'uploaded' });
	t.deepEqual(await repository.pushBlob(big.descriptor, fileSource(file, big.descriptor.size), { onProgress: (n) => progress.push(n) }), { how: 'uploaded' });
	t.is(progress.at(-1), 5_000_000);
	for (const { descriptor, bytes } of [small, big]) {
		t.true((Buffer.concat(await repository.openBlob(descriptor).toArray() as Buffer[])).equals(Buffer.from(bytes)));
	}
	await t.throwsAsync(repository.pushBlob(big.descriptor, bufferSource(small.bytes)), { instanceOf: RangeError });
});

test('content that is not what it says is refused by the registry, with its reason', async (t) => {
	const repository = client.repository(newName());
	const [one, other] = [makeLayer(100), makeLayer(100)];
	const error = await t.throwsAsync(repository.pushBlob(one.descriptor, bufferSource(other.bytes)));
	t.true(isRegistryError(error, 'protocol'));
	t.regex(error?.message ?? '', /^unexpected status from PUT request to .*: 400 Bad Request\ndigest invalid: provided digest did not match uploaded content$/);
	t.false(await repository.hasBlob(one.descriptor));
});

test('a manifest whose layers are missing is refused, with its reason', async (t) => {
	const repository = client.repository(newName());
	const image = makeImage('linux', [makeLayer(10)]);
	const error = await t.throwsAsync(repository.pushManifest(image.manifest, 'v1'));
	t.regex(error?.message ?? '', /400 Bad Request\n(manifest blob|blob) unknown/);
});

test('a missing file fails the push and names the file', async (t) => {
	const repository = client.repository(newName());
	const { descriptor } = makeLayer(100);
	await t.throwsAsync(repository.pushBlob(descriptor, fileSource(path.join(directory, 'none'), 100)), { message: /ENOENT.*none/ });
});

test('a blob of a neighbour repository is mounted, of another registry copied', async (t) => {
	const second = await startRegistry();
	t.teardown(() => second.stop());
	const from = client.repository(newName());
	const { layers: [layer] } = await pushTestImage(from, 'v1', 100_000);
	if (layer === undefined) return t.fail();
	t.deepEqual(await client.repository(newName()).copyBlob(from, layer.descriptor), { how: 'mounted', from: from.path });
	const elsewhere = client.repository(`${second.host}/copy`);
	t.deepEqual(await elsewhere.copyBlob(from, layer.descriptor), { how: 'uploaded' });
	t.deepEqual(await elsewhere.copyBlob(from, layer.descriptor), { how: 'existed' });
	t.deepEqual(await elsewhere.pushBlob(missingBlob(), bufferSource(Buffer.alloc(8)), { mountFrom: ['no/such'] }).catch((error: Error) => error.message.includes('digest invalid')), true);
});

test('a push that was cancelled stops, and says who cancelled', async (t) => {
	const repository = client.repository(newName());
	const layer = makeLayer(3_000_000);
	const abort = new AbortController();
	const reason = new Error('enough');
	const source = {
		size: layer.descriptor.size,
		async *open() {
			yield layer.bytes.subarray(0, 1000);
			abort.abort(reason);
			yield layer.bytes.subarray(1000);
		},
	};
	t.is(await t.throwsAsync(repository.pushBlob(layer.descriptor, source, { signal: abort.signal })), reason);
	t.is(await t.throwsAsync(client.resolve(`${repository.name}:x`, { signal: abort.signal })), reason);
	t.is(await t.throwsAsync(repository.openBlob(layer.descriptor, { signal: abort.signal }).toArray()), reason);
});

test('one failing blob stops the other uploads of an image', async (t) => {
	const repository = client.repository(newName());
	const image = makeImage('linux', Array.from({ length: 12 }, () => makeLayer(50)));
	const items = itemsOf(image).map((item, i) => (i === 3 ? { ...item, source: bufferSource(Buffer.alloc(50)) } : item));
	let pushed = 0;
	await t.throwsAsync(pushImage(repository, items, [image.manifest], ['v1'], { concurrency: 2, onPushed: () => pushed++ }), { message: /digest invalid/ });
	t.true(pushed < 12);
	await t.throwsAsync(client.resolve(`${repository.name}:v1`), { message: /not found/ });
});

test('foreign layers stay where they are', async (t) => {
	const repository = client.repository(newName());
	const foreign = { mediaType: mediaTypes.ociForeignLayerGzip, digest: missingBlob().digest, size: 5, urls: ['https://example.invalid/layer'] };
	let pushed = 0;
	await pushImage(repository, [{ descriptor: foreign, source: bufferSource(Buffer.alloc(5)) }], [], [], { onPushed: () => pushed++ });
	t.is(pushed, 0);
});
