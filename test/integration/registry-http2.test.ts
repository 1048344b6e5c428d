// Registries behind HTTP/2, and those that only look like it.
import { execFile } from 'node:child_process';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import test, { type ExecutionContext } from 'ava';
import type { Document } from '../../src/image/index.js';
import { isRegistryError, RegistryClient } from '../../src/registry/index.js';
import { pushTestImage } from './helpers/images.js';
import { makeCertificate, startRegistry, type TestRegistry } from './helpers/registry.js';

const layerSize = 3_000_000;
let registry: TestRegistry;
let layer: Document;
let directory: string;
let certificate: { readonly key: string; readonly certificate: string };
test.before(async () => {
	directory = mkdtempSync(path.join(tmpdir(), 'obd-test-'));
	certificate = makeCertificate(directory, 'front');
	registry = await startRegistry();
	const client = new RegistryClient({ credentials: async () => undefined });
	layer = (await pushTestImage(client.repository(`${registry.host}/a`), 'v1', layerSize)).layers[0] as Document;
	client.close();
});
test.after.always(async () => {
	await registry?.stop();
	rmSync(directory, { recursive: true, force: true });
});

interface Front {
	readonly host: string;
	/** HTTP versions of the requests, in order. */
	readonly versions: string[];
	readonly sockets: Set<TLSSocket>;
	/** Requests that are answered with a broken stream. */
	breaks: number;
}

/** A TLS server in front of the registry that speaks HTTP/2, or only HTTP/1.1. */
async function startFront(t: ExecutionContext, offersHttp2: boolean): Promise<Front> {
	const tls = { key: readFileSync(certificate.key), cert: readFileSync(certificate.certificate) };
	const front: { versions: string[]; sockets: Set<TLSSocket>; breaks: number } = { versions: [], sockets: new Set(), breaks: 0 };
	const pass = (request: http.IncomingMessage | http2.Http2ServerRequest, response: http.ServerResponse | http2.Http2ServerResponse): void => {
		front.versions.push(request.httpVersion);
		const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !name.startsWith(':')));
		http.get(`http://${registry.host}${request.url}`, { headers: { ...headers, host: registry.host }, agent: false }, (answer) => {
			const { connection: _, 'transfer-encoding': __, ...kept } = answer.headers;
			response.writeHead(answer.statusCode ?? 500, kept);
			if (request.url?.includes('/blobs/') === true && front.breaks-- > 0) {
				const out = response as http2.Http2ServerResponse;
				answer.once('data', (chunk: Buffer) => out.write(chunk.subarray(0, 1000), () => { out.stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR); }));
			} else answer.pipe(response as NodeJS.WritableStream);
		});
	};
	const server = offersHttp2 ? http2.createSecureServer({ ...tls, allowHTTP1: true }, pass) : https.createServer(tls, pass);
	server.on('secureConnection', (socket: TLSSocket) => {
		front.sockets.add(socket);
		socket.on('error', () => undefined);
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	t.teardown(() => {
		server.close();
		for (const socket of front.sockets) socket.destroy();
	});
	return Object.assign(front, { host: `127.0.0.1:${(server.address() as AddressInfo).port}` });
}

function newClient(t: ExecutionContext, host: string): RegistryClient {
	const client = new RegistryClient({
		retry: { attempts: 4, firstDelay: 1, maxDelay: 2 }, credentials: async () => undefined,
		hosts: { [host]: { plainHttp: false, ca: [certificate.certificate] } },
	});
	t.teardown(() => client.close());
	return client;
}

const part = (offset: number, length: number): Buffer => Buffer.from(layer.bytes).subarray(offset, offset + length);

test('where HTTP/2 is offered, parallel reads share one connection', async (t) => {
	const front = await startFront(t, true);
	const repository = newClient(t, front.host).repository(`${front.host}/a`);
	const parts = await Promise.all(Array.from({ length: 40 }, (_, i) => repository.readRange(layer.descriptor, i * 70_000, 65_536)));
	t.true(parts.every((bytes, i) => bytes.equals(part(i * 70_000, 65_536))));
	t.deepEqual([...new Set(front.versions)], ['2.0']);
	t.is(front.sockets.size, 1);
	// What a whole blob is made of, and a manifest.
	t.true(Buffer.concat(await repository.openBlob(layer.descriptor).toArray() as Buffer[]).equals(Buffer.from(layer.bytes)));
	t.is((await repository.head('v1')).mediaType, 'application/vnd.oci.image.manifest.v1+json');
	t.is(front.sockets.size, 1);
});

test('a registry of today speaks HTTP/2 itself, pushes included', async (t) => {
	const own = await startRegistry({ tls: true });
	t.teardown(() => own.stop());
	const client = new RegistryClient({ credentials: async () => undefined, hosts: { [own.host]: { plainHttp: false, ca: [own.ca as string] } } });
	t.teardown(() => client.close());
	const image = await pushTestImage(client.repository(`${own.host}/a`), 'v1', layerSize);
	const read = await client.repository(`${own.host}/a`).readRange(image.layers[0]?.descriptor ?? { digest: '' }, 5, 100_000);
	t.true(read.equals(Buffer.from(image.layers[0]?.bytes ?? []).subarray(5, 100_005)));
});

test('where it is not, HTTP/1.1 connections are used again, the one that found out included', async (t) => {
	const front = await startFront(t, false);
	const repository = newClient(t, front.host).repository(`${front.host}/a`);
	for (let i = 0; i < 5; i++) t.true((await repository.readRange(layer.descriptor, i, 100)).equals(part(i, 100)));
	t.deepEqual([...new Set(front.versions)], ['1.1']);
	t.is(front.sockets.size, 1);
});

test('a broken stream is taken up where it broke, and a lost connection replaced', async (t) => {
	const front = await startFront(t, true);
	const repository = newClient(t, front.host).repository(`${front.host}/a`);
	front.breaks = 2;
	t.true((await repository.readRange(layer.descriptor, 10, 500_000)).equals(part(10, 500_000)));
	t.is(front.versions.length, 3);
	for (const socket of front.sockets) socket.destroy();
	t.true((await repository.readRange(layer.descriptor, 10, 10)).equals(part(10, 10)));
	front.breaks = Infinity;
	const error = await t.throwsAsync(repository.readRange(layer.descriptor, 10, 500_000));
	t.true(isRegistryError(error, 'network'), error?.message);
});

test('a certificate that nobody has signed is refused as over HTTP/1.1', async (t) => {
	const front = await startFront(t, true);
	const client = new RegistryClient({ retry: { attempts: 1 }, credentials: async () => undefined, hosts: { [front.host]: { plainHttp: false } }, environment: { SSL_CERT_FILE: '/no/such/file' } });
	t.teardown(() => client.close());
	await t.throwsAsync(client.resolve(`${front.host}/a:v1`), { name: 'RegistryError', message: /self-signed certificate/ });
	t.is(front.versions.length, 0);
});

// Node 20, and 22 and 24 before they were mended, broke their own heap then: nodejs/node#64113.
test('requests that are given up when one of them is answered break nothing', async (t) => {
	const { stdout } = await promisify(execFile)(process.execPath, [fileURLToPath(new URL('registry-give-up.js', import.meta.url)), '300']);
	t.is(stdout, 'all given up\n');
});
