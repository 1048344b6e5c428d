// What registries, and the way to them, do wrong: each gives right content or one clear error.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { ServerResponse } from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { type ExecutionContext } from 'ava';
import { digestOf, maxManifestSize, mediaTypes, type Document } from '../../src/image/index.js';
import { bufferSource, isRegistryError, LazyReader, onceSource, RegistryClient, type BlobLocation, type RangeRequest, type Repository } from '../../src/registry/index.js';
import { answer, cut, startFaultProxy, type Fault, type FaultProxy } from './helpers/fault-proxy.js';
import { makeLayer, pushTestImage, type TestImage } from './helpers/images.js';
import { freePort, startRegistry, type TestRegistry } from './helpers/registry.js';

const layerSize = 3_000_000;
const retry = { attempts: 4, firstDelay: 1, maxDelay: 2, maxTotal: 1000 };

let registry: TestRegistry;
let image: TestImage;
let layer: Document;
test.before(async () => {
	registry = await startRegistry();
	const client = new RegistryClient({ credentials: async () => undefined });
	image = await pushTestImage(client.repository(`${registry.host}/a`), 'v1', layerSize);
	layer = image.layers[0] as Document;
	client.close();
});
test.after.always(() => registry?.stop());

interface Setup {
	readonly proxy: FaultProxy;
	readonly client: RegistryClient;
	readonly repository: Repository;
	/** `HOST/a`, by way of the proxy. */
	readonly name: string;
}

async function setUp(t: ExecutionContext, fault: Fault, upstream: string | undefined = registry.host): Promise<Setup> {
	const proxy = await startFaultProxy(upstream);
	proxy.fault = fault;
	const client = new RegistryClient({ credentials: async () => ({ username: 'user', secret: 'secret' }), retry });
	t.teardown(async () => {
		client.close();
		await proxy.stop();
	});
	return { proxy, client, repository: client.repository(`${proxy.host}/a`), name: `${proxy.host}/a` };
}

const isBlob = (url: string | undefined) => url?.includes('/blobs/sha256:') === true;
const blobBytes = () => Buffer.from(layer.bytes);
const readAll = async (repository: Repository) => Buffer.concat(await repository.openBlob(layer.descriptor).toArray() as Buffer[]);

test('trouble that passes is waited out: 500, 502, 503, 504, 408, 429', async (t) => {
	for (const status of [500, 502, 503, 504, 408, 429]) {
		const { proxy, client, name } = await setUp(t, (_, response, count) => count === 0 && answer(response, status));
		await t.notThrowsAsync(client.resolve(`${name}:v1`), String(status));
		t.is(proxy.requests.filter(({ method }) => method === 'HEAD').length, 2);
	}
});

test('trouble that stays is an error after the last attempt, with what the registry says', async (t) => {
	const body = JSON.stringify({ errors: [{ code: 'UNAVAILABLE', message: 'down for maintenance' }] });
	const { proxy, client, name } = await setUp(t, (_, response) => answer(response, 503, {}, body));
	const error = await t.throwsAsync(client.resolve(`${name}:v1`));
	t.true(isRegistryError(error, 'server'));
	t.like(error, { registry: proxy.host, status: 503, path: '/v2/a/manifests/v1', errors: [{ code: 'UNAVAILABLE', message: 'down for maintenance' }] });
	t.is(error?.message, `unexpected status from GET request to http://${name.replace('/a', '/v2/a')}/manifests/v1: 503 Service Unavailable\nunavailable: down for maintenance`);
	t.is(proxy.requests.filter(({ method }) => method === 'GET').length, retry.attempts);
});

test('Retry-After is obeyed, unless it asks for too much', async (t) => {
	const { client, name } = await setUp(t, (_, response, count) => count === 0 && answer(response, 429, { 'retry-after': '0' }));
	await t.notThrowsAsync(client.resolve(`${name}:v1`));
	const patient = await setUp(t, (_, response) => answer(response, 429, { 'retry-after': '3600' }));
	const error = await t.throwsAsync(patient.client.resolve(`${patient.name}:v1`));
	t.true(isRegistryError(error, 'rate-limited'));
	t.regex(error?.message ?? '', /429 Too Many Requests \(it asks to wait 3600 s\)/);
	t.is(patient.proxy.requests.filter(({ method }) => method === 'GET').length, 1);
	const dated = await setUp(t, (_, response) => answer(response, 429, { 'retry-after': new Date(Date.now() + 7_200_000).toUTCString() }));
	await t.throwsAsync(dated.client.resolve(`${dated.name}:v1`), { message: /it asks to wait \d+ s/ });
});

test('403 and 404 are final', async (t) => {
	const denied = await setUp(t, (_, response) => answer(response, 403, {}, '{"errors":[{"code":"DENIED","message":"not from here"}]}'));
	const error = await t.throwsAsync(denied.client.resolve(`${denied.name}:v1`));
	t.true(isRegistryError(error, 'denied'));
	t.regex(error?.message ?? '', /403 Forbidden\ndenied: not from here$/);
	t.is(denied.proxy.requests.length, 2, 'a HEAD, and a GET to learn the reason');
	const gone = await setUp(t, (_, response) => answer(response, 404));
	await t.throwsAsync(gone.client.resolve(`${gone.name}:v1`), { message: `${gone.name}:v1: not found` });
	t.is(gone.proxy.requests.length, 1);
});

for (const [what, header] of [
	['no challenge', undefined], ['an unknown scheme', 'Negotiate'], ['no realm', 'Bearer service="x"'], ['a bad realm', 'Bearer realm="file:///etc/passwd"'], ['nonsense', '=,=",'],
] as const) {
	test(`a 401 with ${what} is an error`, async (t) => {
		const { client, name, proxy } = await setUp(t, (_, response) => answer(response, 401, header === undefined ? {} : { 'www-authenticate': header }));
		await t.throwsAsync(client.resolve(`${name}:v1`), { name: 'RegistryError', message: /^(pull access denied|failed to authorize: (no realm|invalid token auth))/ });
		t.true(proxy.requests.length <= 2);
	});
}

test('a refusal for lack of scope reads as BuildKit has it', async (t) => {
	const { client, name, proxy } = await setUp(t, (request, response) => {
		if (request.url?.startsWith('/token')) return answer(response, 200, {}, '{"token":"t"}');
		return answer(response, 401, { 'www-authenticate': `Bearer realm="http://${proxy.host}/token",service="s",scope="repository:a:pull",error="insufficient_scope"` });
	}, undefined);
	await t.throwsAsync(client.resolve(`${name}:v1`), { message: 'pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed' });
});

test('a connection cut in the middle of a blob is resumed where it broke', async (t) => {
	let cuts = 3;
	const { proxy, repository } = await setUp(t, (request, response) => {
		if (!isBlob(request.url) || cuts-- <= 0) return false;
		const start = Number(/bytes=([0-9]+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
		const rest = blobBytes().subarray(start);
		const head = start === 0 ? {} : { 'content-range': `bytes ${start}-${layerSize - 1}/${layerSize}` };
		return cut(response, start === 0 ? 200 : 206, { ...head, 'content-length': rest.length }, rest, 500_000);
	});
	t.true((await readAll(repository)).equals(blobBytes()));
	const starts = proxy.requests.map(({ headers }) => Number(/bytes=([0-9]+)-/.exec(headers.range ?? '')?.[1] ?? 0));
	t.is(starts.length, 4);
	t.true(starts.every((start, i) => i === 0 || start > (starts[i - 1] ?? 0)), starts.join(' '));
});

test('a connection that is cut for ever ends in an error', async (t) => {
	const { repository, proxy } = await setUp(t, (request, response) => isBlob(request.url) && cut(response, 200, { 'content-length': layerSize }, blobBytes(), 0));
	const error = await t.throwsAsync(readAll(repository));
	t.true(isRegistryError(error, 'network'), error?.message);
	t.is(proxy.requests.length, retry.attempts);
});

test('an answer that ends early without a word is noticed', async (t) => {
	// No content-length: the end of the connection is the end of the body.
	const { repository } = await setUp(t, (request, response, count) => {
		if (!isBlob(request.url) || count > 0) return false;
		response.writeHead(200, { connection: 'close' });
		response.end(blobBytes().subarray(0, 1000));
		return true;
	});
	t.true((await readAll(repository)).equals(blobBytes()));
});

test('a connection reset before the answer is tried again', async (t) => {
	const { client, name } = await setUp(t, (request, _, count) => {
		if (count > 0) return false;
		request.socket.destroy();
		return true;
	});
	await t.notThrowsAsync(client.resolve(`${name}:v1`));
});

test('nobody listening is an error at once, with the address', async (t) => {
	const host = `127.0.0.1:${await freePort()}`;
	const client = new RegistryClient({ retry });
	t.teardown(() => client.close());
	const error = await t.throwsAsync(client.resolve(`${host}/a:v1`));
	t.true(isRegistryError(error, 'network'));
	t.is(error?.message, `failed to do request: HEAD http://${host}/v2/a/manifests/v1: connect ECONNREFUSED ${host}`);
	await t.throwsAsync(client.resolve('no-such-host.invalid/a:v1'), { message: /ENOTFOUND no-such-host\.invalid|EAI_AGAIN/ });
});

test('what is not HTTP is an error', async (t) => {
	const server = net.createServer((socket) => {
		socket.on('error', () => {});
		socket.end('SSH-2.0-OpenSSH_9\r\n');
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	t.teardown(() => server.close());
	const client = new RegistryClient({ retry });
	t.teardown(() => client.close());
	const error = await t.throwsAsync(client.resolve(`127.0.0.1:${(server.address() as net.AddressInfo).port}/a:v1`));
	t.true(isRegistryError(error, 'network'), error?.message);
});

test('a blob with other content is an error, at its end, and not asked for again', async (t) => {
	const wrong = blobBytes();
	wrong[1_000_000] = (wrong[1_000_000] ?? 0) ^ 1;
	const { repository, proxy } = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 200, {}, wrong));
	const error = await t.throwsAsync(readAll(repository));
	t.true(isRegistryError(error, 'content'));
	t.is(error?.message, `${repository.name}@${layer.descriptor.digest}: the registry sent other content, with digest ${digestOf(wrong)}`);
	t.is(proxy.requests.length, 1);
	const directory = mkdtempSync(path.join(tmpdir(), 'obd-test-'));
	t.teardown(() => rmSync(directory, { recursive: true, force: true }));
	await t.throwsAsync(repository.download(layer.descriptor, path.join(directory, 'x')), { message: /sent other content/ });
	t.throws(() => readFileSync(path.join(directory, 'x')), { code: 'ENOENT' });
});

test('a blob that is too long is an error before it fills anything', async (t) => {
	const { repository } = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 200, {}, Buffer.concat([blobBytes(), Buffer.from('x')])));
	const error = await t.throwsAsync(readAll(repository));
	t.true(isRegistryError(error, 'content'));
	t.regex(error?.message ?? '', /more came than up to byte 3000000/);
});

test('a manifest or config with other content is an error', async (t) => {
	const other = Buffer.from(image.manifest.bytes.toString().replace('schemaVersion', 'schemaversion'));
	const { client, name } = await setUp(t, (request, response) => request.url?.includes('/manifests/') === true && request.method === 'GET'
		&& answer(response, 200, { 'content-type': mediaTypes.ociManifest }, other));
	await t.throwsAsync(client.resolve(`${name}:v1`), { message: /sent other content: \d+ bytes with digest sha256:/ });
	const config = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 200, {}, Buffer.alloc(image.config.bytes.length)));
	await t.throwsAsync(config.client.resolve(`${config.name}:v1`), { message: /the registry sent other content/ });
});

test('a manifest that never ends, or says it is huge, is refused', async (t) => {
	const endless = await setUp(t, (request, response) => {
		if (request.method === 'HEAD') return answer(response, 200, { 'content-type': mediaTypes.ociManifest });
		response.writeHead(200, { 'content-type': mediaTypes.ociManifest });
		pour(response);
		return true;
	});
	await t.throwsAsync(endless.client.resolve(`${endless.name}:v1`), { message: new RegExp(`longer than ${maxManifestSize} bytes`) });
	const huge = await setUp(t, (request, response) => request.method === 'HEAD'
		&& answer(response, 200, { 'content-type': mediaTypes.ociManifest, 'content-length': '5000000000', 'docker-content-digest': image.manifest.descriptor.digest }));
	await t.throwsAsync(huge.client.resolve(`${huge.name}:v1`), { message: /rejecting 5000000000 byte manifest/ });
});

function pour(response: ServerResponse): void {
	const chunk = Buffer.alloc(65536, 0x20);
	const more = () => {
		while (!response.destroyed && response.write(chunk));
	};
	response.on('drain', more);
	more();
}

for (const [what, headers] of Object.entries({
	'no digest': { 'content-type': mediaTypes.ociManifest, 'content-length': '5' },
	'a bad digest': { 'content-type': mediaTypes.ociManifest, 'content-length': '5', 'docker-content-digest': 'sha256:../..' },
	'no media type': { 'content-length': '5', 'docker-content-digest': digestOf('x') },
	'text/plain': { 'content-type': 'text/plain', 'content-length': '5', 'docker-content-digest': digestOf('x') },
})) {
	test(`a HEAD that names ${what} is made up for by a GET`, async (t) => {
		const { client, name } = await setUp(t, (request, response) => request.method === 'HEAD' && request.url?.includes('/manifests/') === true && answer(response, 200, headers));
		t.deepEqual((await client.resolve(`${name}:v1`)).descriptor, image.manifest.descriptor);
	});
}

test('a registry that knows no HEAD for manifests is asked with GET', async (t) => {
	const { client, name } = await setUp(t, (request, response) => request.method === 'HEAD' && answer(response, 405));
	t.deepEqual((await client.resolve(`${name}:v1`)).descriptor, image.manifest.descriptor);
});

test('an old schema 1 manifest is refused in the words Docker has for it', async (t) => {
	const { client, name } = await setUp(t, (_, response) => answer(response, 200, { 'content-type': 'text/plain' }, '{"schemaVersion":1}'));
	await t.throwsAsync(client.resolve(`${name}:v1`), { message: /schema 1 has been removed/ });
});

test('an index that leads to itself ends', async (t) => {
	// Sizes and digests cannot form a real circle; a server that lies about them is caught by the digest.
	const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [{ mediaType: mediaTypes.ociIndex, digest: digestOf('loop'), size: 4 }] }));
	const { client, name } = await setUp(t, (_, response) => answer(response, 200, { 'content-type': mediaTypes.ociIndex }, index));
	await t.throwsAsync(client.resolve(`${name}:v1`), { message: /sent other content/ });
});

test('a wrong Content-Range is not taken for the right part', async (t) => {
	const lies = ['bytes 0-99/3000000', 'bytes 1000-1099/9', 'bytes 1000-999/3000000', 'pages 1-2/3', ''];
	for (const lie of lies) {
		const { repository, proxy } = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 206, lie === '' ? {} : { 'content-range': lie }, Buffer.alloc(100)));
		const error = await t.throwsAsync(repository.readRange(layer.descriptor, 1000, 100));
		t.true(isRegistryError(error, 'protocol'));
		t.regex(error?.message ?? '', /asked for bytes from 1000 of 3000000, got Content-Range/);
		t.is(proxy.requests.length, retry.attempts);
	}
	const { repository } = await setUp(t, (request, response, count) => isBlob(request.url) && count === 0 && answer(response, 206, { 'content-range': 'bytes 0-99/3000000' }, Buffer.alloc(100)));
	t.true((await repository.readRange(layer.descriptor, 1000, 100)).equals(blobBytes().subarray(1000, 1100)));
});

test('a server that ignores ranges gives the right bytes all the same', async (t) => {
	const { repository } = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 200, {}, blobBytes()));
	t.true((await repository.readRange(layer.descriptor, 2_999_000, 1000)).equals(blobBytes().subarray(2_999_000)));
	t.true((await repository.readRange({ digest: layer.descriptor.digest }, 70_000, 10)).equals(blobBytes().subarray(70_000, 70_010)));
	const tail: Uint8Array[] = [];
	for await (const chunk of repository.readBlob(layer.descriptor, { offset: 2_000_000 })) tail.push(chunk);
	t.true(Buffer.concat(tail).equals(blobBytes().subarray(2_000_000)));
});

test('a part that is too long is an error', async (t) => {
	const { repository } = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 206, { 'content-range': 'bytes 1000-1099/3000000' }, Buffer.alloc(101)));
	await t.throwsAsync(repository.readRange(layer.descriptor, 1000, 100), { name: 'RegistryError', message: /more came than up to byte 1100/ });
});

test('a part that is too short is read again', async (t) => {
	const { repository } = await setUp(t, (request, response, count) => isBlob(request.url) && count === 0
		&& answer(response, 206, { 'content-range': 'bytes 1000-1049/3000000' }, blobBytes().subarray(1000, 1050)));
	t.true((await repository.readRange(layer.descriptor, 1000, 100)).equals(blobBytes().subarray(1000, 1100)));
});

test('a redirect to another host is followed without our secret, remembered, and renewed when it has expired', async (t) => {
	const storage = await startFaultProxy();
	t.teardown(() => storage.stop());
	let signature = 1;
	storage.fault = (request, response) => {
		const url = new URL(request.url ?? '', 'http://x');
		if (url.searchParams.get('signature') !== String(signature)) return answer(response, 403, {}, 'expired');
		const [, start = 0, end = layerSize - 1] = /bytes=([0-9]+)-([0-9]+)?/.exec(request.headers.range ?? '') ?? [];
		return answer(response, 206, { 'content-range': `bytes ${start}-${end}/${layerSize}` }, blobBytes().subarray(Number(start), Number(end) + 1));
	};
	const { repository, proxy } = await setUp(t, (request, response) => {
		if (request.headers.authorization === undefined) return answer(response, 401, { 'www-authenticate': 'Basic realm="x"' });
		return isBlob(request.url) && answer(response, 307, { location: `http://${storage.host}/blob?signature=${signature}` });
	});
	const part = (offset: number) => repository.readRange(layer.descriptor, offset, 10);
	t.true((await part(100)).equals(blobBytes().subarray(100, 110)));
	t.true((await part(200)).equals(blobBytes().subarray(200, 210)));
	t.is(proxy.requests.length, 2, '401, then the redirect; the second part went straight to the storage');
	t.true(storage.requests.every(({ headers }) => headers.authorization === undefined));
	signature = 2;
	t.true((await part(300)).equals(blobBytes().subarray(300, 310)));
	t.is(proxy.requests.length, 3);
	t.is(storage.requests.length, 4);
});

test('a redirect to the same host keeps the login', async (t) => {
	const { repository, proxy } = await setUp(t, (request, response) => {
		if (request.headers.authorization === undefined) return answer(response, 401, { 'www-authenticate': 'Basic realm="x"' });
		return isBlob(request.url) && answer(response, 302, { location: '/moved' }) || request.url === '/moved' && answer(response, 200, {}, blobBytes());
	});
	t.true((await readAll(repository)).equals(blobBytes()));
	t.truthy(proxy.requests.find(({ url }) => url === '/moved')?.headers.authorization);
});

test('redirects in a circle, and to nowhere, are errors', async (t) => {
	const circle = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 307, { location: request.url }));
	await t.throwsAsync(readAll(circle.repository), { name: 'RegistryError', message: /stopped after 10 redirects/ });
	const nowhere = await setUp(t, (request, response) => isBlob(request.url) && answer(response, 307, { location: 'http://[bad' }));
	await t.throwsAsync(readAll(nowhere.repository), { name: 'RegistryError', message: /invalid location/ });
});

test('a mirror is asked first, and the registry when it cannot help', async (t) => {
	const origin = await setUp(t, () => false);
	const mirror = await startFaultProxy(registry.host);
	t.teardown(() => mirror.stop());
	const client = new RegistryClient({ hosts: { [origin.proxy.host]: { mirrors: [`127.0.0.1:${await freePort()}`, mirror.host] } }, retry });
	t.teardown(() => client.close());
	await client.resolve(`${origin.name}:v1`);
	t.is(origin.proxy.requests.length, 0);
	t.is(mirror.requests[0]?.url, `/v2/a/manifests/v1?ns=${encodeURIComponent(origin.proxy.host)}`);
	for (const status of [404, 500, 401]) {
		origin.proxy.requests.length = 0;
		mirror.requests.length = 0;
		mirror.fault = (_, response) => answer(response, status);
		t.true((Buffer.concat(await client.repository(origin.name).openBlob(layer.descriptor).toArray() as Buffer[])).equals(blobBytes()));
		t.deepEqual((await client.resolve(`${origin.name}:v1`)).descriptor, image.manifest.descriptor);
		t.true(origin.proxy.requests.length > 0);
		t.true(mirror.requests.length > 0);
	}
	await t.throwsAsync(client.resolve(`${origin.name}:nope`), { message: new RegExp(`^${origin.name}:nope: not found \\(mirrors failed too: .*ECONNREFUSED.*; ${mirror.host}: `) });
});

test('a push goes to the registry itself, never to a mirror', async (t) => {
	const mirror = await startFaultProxy();
	t.teardown(() => mirror.stop());
	const client = new RegistryClient({ hosts: { [registry.host]: { mirrors: [mirror.host] } }, retry });
	t.teardown(() => client.close());
	const small = makeLayer(10);
	await client.repository(`${registry.host}/pushed`).pushBlob(small.descriptor, bufferSource(small.bytes));
	t.is(mirror.requests.length, 0);
});

test('an upload that breaks goes on where the registry has it', async (t) => {
	// docker-registry forgets an upload that broke; this server keeps it, as the distribution spec allows.
	const big = makeLayer(8_000_000);
	const arrived: Buffer[] = [];
	let committed = '';
	const { repository, proxy } = await setUp(t, (request, response) => {
		const url = new URL(request.url ?? '', 'http://x');
		const size = () => arrived.reduce((sum, chunk) => sum + chunk.length, 0);
		const take = (done: () => void) => request.on('data', (chunk: Buffer) => {
			arrived.push(chunk);
			if (proxy.requests.length === 3 && size() >= 3_000_000) request.socket.destroy();
		}).on('end', done);
		const location = `/upload?part=${proxy.requests.length}`;
		switch (request.method) {
			case 'HEAD': return answer(response, 404);
			case 'POST': return answer(response, 202, { location });
			case 'GET': return answer(response, 204, { location, range: `0-${size() - 1}` });
			case 'PATCH': take(() => answer(response, 202, { location }));
				return true;
			default: take(() => {
				committed = url.searchParams.get('digest') ?? '';
				answer(response, 201);
			});
				return true;
		}
	}, undefined);
	const progress: number[] = [];
	t.deepEqual(await repository.pushBlob(big.descriptor, bufferSource(big.bytes), { onProgress: (bytes) => progress.push(bytes) }), { how: 'uploaded' });
	t.deepEqual(proxy.requests.map(({ method }) => method), ['HEAD', 'POST', 'PUT', 'GET', 'PATCH', 'PUT']);
	t.is(committed, big.descriptor.digest);
	t.true(Buffer.concat(arrived).equals(Buffer.from(big.bytes)));
	t.is(proxy.requests[4]?.headers['content-range'], `${8_000_000 - Number(proxy.requests[4]?.headers['content-length'])}-7999999`);
	t.is(progress.at(-1), 8_000_000);
});

test('an upload the registry has forgotten starts again', async (t) => {
	let broken = false;
	const big = makeLayer(2_000_000);
	const { repository, proxy } = await setUp(t, (request, response) => {
		if (request.method === 'GET') return answer(response, 404);
		if (request.method !== 'PUT' || broken) return false;
		broken = true;
		request.once('data', () => request.socket.destroy());
		return true;
	});
	await repository.pushBlob(big.descriptor, bufferSource(big.bytes));
	t.is(proxy.requests.filter(({ method }) => method === 'POST').length, 2);
	t.true(await repository.hasBlob(big.descriptor));
});

test('a registry that is busy for a moment gets the upload a little later', async (t) => {
	for (const method of ['POST', 'PUT']) {
		const small = makeLayer(1000);
		const { repository } = await setUp(t, busyOnce(method));
		t.deepEqual(await repository.pushBlob(small.descriptor, bufferSource(small.bytes)), { how: 'uploaded' });
		t.true(await repository.hasBlob(small.descriptor));
	}
	const manifest = await setUp(t, busyOnce('PUT'));
	await t.notThrowsAsync(manifest.repository.pushManifest(image.manifest, 'again'));
});

function busyOnce(method: string): Fault {
	let first = true;
	return (request, response) => {
		if (request.method !== method || !first) return false;
		first = false;
		request.resume();
		return answer(response, 503);
	};
}

test('an upload whose answer got lost counts when the blob is there', async (t) => {
	const big = makeLayer(2_000_000);
	let lost = false;
	const { repository, proxy } = await setUp(t, (request, response) => {
		if (request.method !== 'PUT' || lost) return false;
		lost = true;
		response.writeHead = (() => {
			request.socket.destroy();
			return response;
		}) as typeof response.writeHead;
		return false;
	});
	t.deepEqual(await repository.pushBlob(big.descriptor, bufferSource(big.bytes)), { how: 'uploaded' });
	t.is(proxy.requests.filter(({ method }) => method === 'PUT').length, 1);
});

test('a stream that can be read once is not sent twice: the error says so', async (t) => {
	const big = makeLayer(2_000_000);
	const { repository } = await setUp(t, (request) => {
		if (request.method !== 'PUT') return false;
		request.once('data', () => request.socket.destroy());
		return true;
	});
	await t.throwsAsync(repository.pushBlob(big.descriptor, onceSource((async function* () {
		yield big.bytes;
	})(), 2_000_000)), { message: /cannot be read again/ });
});

test('an upload without a location, and a manifest stored as something else, are errors', async (t) => {
	const small = makeLayer(10);
	const nowhere = await setUp(t, (request, response) => request.method === 'POST' && answer(response, 202));
	await t.throwsAsync(nowhere.repository.pushBlob(small.descriptor, bufferSource(small.bytes)), { name: 'RegistryError', message: /named no upload location/ });
	const other = await setUp(t, (request, response) => {
		if (request.method !== 'PUT') return false;
		request.resume();
		return answer(response, 201, { 'docker-content-digest': digestOf('other') });
	});
	await t.throwsAsync(other.repository.pushManifest(image.manifest, 'x'), { message: /the registry stored sha256:/ });
});

test('an early refusal ends an upload without sending all of it', async (t) => {
	const size = 64 * 1024 * 1024;
	let sent = 0;
	const { repository } = await setUp(t, (request, response) => request.method === 'PUT' && answer(response, 413, {}, '{"errors":[{"code":"SIZE_INVALID","message":"too big for us"}]}'));
	const source = {
		size,
		async *open() {
			for (; sent < size; sent += 65536) yield Buffer.alloc(65536);
		},
	};
	const error = await t.throwsAsync(repository.pushBlob({ ...layer.descriptor, digest: digestOf('big'), size }, source));
	t.regex(error?.message ?? '', /413 Payload Too Large\nsize invalid: too big for us/);
	t.true(sent < size);
});

/** What the reader gives for a request, as one. */
async function readWhole(reader: LazyReader, location: BlobLocation, request: RangeRequest): Promise<Buffer> {
	const parts: Buffer[] = [];
	await reader.readRange(location, request, (bytes) => { parts.push(Buffer.from(bytes)); }, new AbortController().signal);
	return Buffer.concat(parts);
}

test('the lazy reader keeps trying until its time is up, and then says what was wrong', async (t) => {
	let failures = 20;
	const { proxy } = await setUp(t, (request, response) => isBlob(request.url) && failures-- > 0 && answer(response, 503));
	const retry = { attempts: Infinity, maxTotal: Infinity, firstDelay: 1, maxDelay: 2 };
	const reader = new LazyReader({ retry, timeout: 5_000 });
	const hasty = new LazyReader({ retry, timeout: 1000 });
	t.teardown(() => { reader.close(); hasty.close(); });
	const location = { repository: `${proxy.host}/a`, insecure: false };
	const request = { digest: layer.descriptor.digest, blobSize: layer.descriptor.size, offset: 10, length: 10, again: false };
	t.true((await readWhole(reader, location, request)).equals(blobBytes().subarray(10, 20)));
	proxy.fault = (_, response) => answer(response, 503);
	const error = await t.throwsAsync(readWhole(hasty, location, request));
	t.regex(error?.message ?? '', /unexpected status from GET request to .*503 Service Unavailable \(given up after \d+ attempts: out of time\) \(tried for [12]\.\d s\)/);
	proxy.fault = () => true;
	await t.throwsAsync(readWhole(hasty, location, request), { name: 'RegistryError', message: /failed to do request: GET .*out of time.* \(tried for / });
});

/** Blob reads that a test holds back, in order of arrival. */
function holdBack(proxy: FaultProxy): { readonly held: { readonly range: string; readonly isOpen: () => boolean; readonly answer: () => void }[]; arrived: (count: number) => Promise<void> } {
	const held: { range: string; isOpen: () => boolean; answer: () => void }[] = [];
	const looks = new Set<() => void>();
	proxy.fault = (request, response) => {
		if (!isBlob(request.url)) return false;
		const { range = '' } = request.headers;
		const [, first = '0', last = '0'] = /bytes=(\d+)-(\d+)/.exec(range) ?? [];
		held.push({
			range,
			isOpen: () => !response.destroyed,
			answer: () => { answer(response, 206, { 'content-range': `bytes ${first}-${last}/${layerSize}` }, blobBytes().subarray(Number(first), Number(last) + 1)); },
		});
		for (const look of looks) look();
		return true;
	};
	return {
		held,
		arrived: (count) => new Promise((resolve) => {
			const look = (): void => {
				if (held.length < count) return;
				looks.delete(look);
				resolve();
			};
			looks.add(look);
			look();
		}),
	};
}

test('a read that has waited unusually long is asked for a second time, and the first answer counts', async (t) => {
	const { proxy } = await setUp(t, () => false);
	const reader = new LazyReader({ timeout: 120_000 });
	t.teardown(() => { reader.close(); });
	const { digest, size } = layer.descriptor;
	const read = (offset: number): Promise<Buffer> => readWhole(reader, { repository: `${proxy.host}/a`, insecure: false }, { digest, blobSize: size, offset, length: 1000, again: false });
	for (const [offset, answered] of [[0, 1], [5000, 0]] as const) {
		const { held, arrived } = holdBack(proxy);
		const reading = read(offset);
		await arrived(2);
		t.deepEqual(held.map(({ range, isOpen }) => [range, isOpen()]), Array(2).fill([`bytes=${offset}-${offset + 999}`, true]), 'the same bytes, while the first request still waits');
		held[answered]?.answer();
		t.true((await reading).equals(blobBytes().subarray(offset, offset + 1000)));
		t.is(held.length, 2);
	}
});

test('a registry that is slow for everybody gets few second requests, and those only once', async (t) => {
	const { proxy } = await setUp(t, () => false);
	const reader = new LazyReader({ timeout: 120_000 });
	t.teardown(() => { reader.close(); });
	const { held, arrived } = holdBack(proxy);
	const { digest, size } = layer.descriptor;
	const offsets = Array.from({ length: 8 }, (_, i) => i * 2000);
	const reads = offsets.map((offset) => readWhole(reader, { repository: `${proxy.host}/a`, insecure: false }, { digest, blobSize: size, offset, length: 1000, again: false }));
	await arrived(12);
	await new Promise((resolve) => { setTimeout(resolve, 1000); });
	t.is(held.length, 12);
	for (const one of held) if (one.isOpen()) one.answer();
	for (const [i, offset] of offsets.entries()) t.true((await reads[i])?.equals(blobBytes().subarray(offset, offset + 1000)));
});
