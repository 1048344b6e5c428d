// The way to a registry: proxies, the system's certificates, connections that died in the pool.
import http from 'node:http';
import net from 'node:net';
import test, { type ExecutionContext } from 'ava';
import { RegistryClient, type RegistryOptions } from '../../src/registry/index.js';
import { startFaultProxy } from './helpers/fault-proxy.js';
import { pushTestImage } from './helpers/images.js';
import { startRegistry, type TestRegistry } from './helpers/registry.js';

let plain: TestRegistry;
let tls: TestRegistry;
test.before(async () => {
	[plain, tls] = await Promise.all([startRegistry(), startRegistry({ tls: true })]);
});
test.after.always(() => Promise.all([plain?.stop(), tls?.stop()]));

function newClient(t: ExecutionContext, options: RegistryOptions): RegistryClient {
	const client = new RegistryClient({ retry: { attempts: 1 }, credentials: async () => undefined, ...options });
	t.teardown(() => client.close());
	return client;
}

/** An http proxy that takes every host for this machine, and remembers what it was asked. */
async function startProxy(t: ExecutionContext, refuse = 0): Promise<{ readonly url: string; readonly asked: string[] }> {
	const asked: string[] = [];
	const server = http.createServer((request, response) => {
		const url = new URL(request.url ?? '');
		asked.push(`${request.method} ${url.host} ${request.headers['proxy-authorization'] ?? ''}`);
		request.pipe(http.request({ host: '127.0.0.1', port: url.port, method: request.method, path: url.pathname + url.search, headers: request.headers, agent: false }, (incoming) => {
			incoming.pipe(response.writeHead(incoming.statusCode ?? 0, incoming.headers));
		}));
	});
	server.on('connect', (request, socket) => {
		asked.push(`CONNECT ${request.url} ${request.headers['proxy-authorization'] ?? ''}`);
		socket.on('error', () => {});
		if (refuse > 0) return void socket.end(`HTTP/1.1 ${refuse} Go Away\r\n\r\n`);
		const upstream = net.connect(Number(request.url?.split(':')[1]), '127.0.0.1', () => {
			socket.write('HTTP/1.1 200 OK\r\n\r\n');
			upstream.pipe(socket).pipe(upstream);
		});
		upstream.on('error', () => socket.destroy());
	});
	await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
	t.teardown(() => {
		server.close();
		server.closeAllConnections();
	});
	return { url: `127.0.0.1:${(server.address() as net.AddressInfo).port}`, asked };
}

test('https goes through a tunnel, http through the proxy itself, with its login', async (t) => {
	const proxy = await startProxy(t);
	const login = `Basic ${Buffer.from('me:pass word').toString('base64')}`;
	const environment = { HTTP_PROXY: `http://me:pass%20word@${proxy.url}`, HTTPS_PROXY: `http://me:pass%20word@${proxy.url}` };
	const [plainName, tlsName] = [plain, tls].map(({ host }) => `registry.invalid:${host.split(':')[1]}`) as [string, string];
	const client = newClient(t, { environment, hosts: { [plainName]: { plainHttp: true }, [tlsName]: { insecure: true } } });
	for (const name of [plainName, tlsName]) {
		const image = await pushTestImage(client.repository(`${name}/a`), 'v1', 100_000);
		t.deepEqual((await client.resolve(`${name}/a:v1`)).descriptor, image.manifest.descriptor);
	}
	t.true(proxy.asked.includes(`PUT ${plainName} ${login}`));
	t.true(proxy.asked.includes(`CONNECT ${tlsName} ${login}`));
	t.true(proxy.asked.filter((line) => line.startsWith('CONNECT')).length < 5, 'tunnels are used again');
});

test('a proxy that refuses is named in the error', async (t) => {
	const proxy = await startProxy(t, 407);
	const client = newClient(t, { environment: { HTTPS_PROXY: proxy.url } });
	await t.throwsAsync(client.resolve('registry.invalid/a:v1'), { name: 'RegistryError', message: new RegExp(`proxy ${proxy.url}, asked for registry\\.invalid:443: 407 Go Away`) });
	const nobody = newClient(t, { environment: { HTTPS_PROXY: '127.0.0.1:1' } });
	await t.throwsAsync(nobody.resolve('registry.invalid/a:v1'), { name: 'RegistryError', message: /proxy 127\.0\.0\.1:1, asked for registry\.invalid:443: connect ECONNREFUSED/ });
});

test('an authority this system trusts is trusted', async (t) => {
	const client = newClient(t, { environment: { SSL_CERT_FILE: tls.ca }, hosts: { [tls.host]: { plainHttp: false } } });
	await t.notThrowsAsync(pushTestImage(client.repository(`${tls.host}/system`), 'v1'));
	const without = newClient(t, { environment: { SSL_CERT_FILE: '/no/such/file' }, hosts: { [tls.host]: { plainHttp: false } } });
	await t.throwsAsync(without.resolve(`${tls.host}/system:v1`), { name: 'RegistryError', message: /self-signed certificate/ });
});

test('connections that died in the pool cost no retry', async (t) => {
	const proxy = await startFaultProxy(plain.host);
	t.teardown(() => proxy.stop());
	const client = newClient(t, { retry: { attempts: 1 } });
	const { layers: [layer] } = await pushTestImage(client.repository(`${proxy.host}/pool`), 'v1', 50_000);
	const repository = client.repository(`${proxy.host}/pool`);
	const part = (i: number) => repository.readRange(layer?.descriptor ?? { digest: '' }, i, 10);
	await Promise.all(Array.from({ length: 5 }, (_, i) => part(i)));
	// The next request on each of them finds the line dead.
	const connections = new Set<unknown>();
	proxy.fault = (request) => {
		if (connections.has(request.socket)) return false;
		connections.add(request.socket);
		if (connections.size > 3) return false;
		request.socket.destroy();
		return true;
	};
	await t.notThrowsAsync(part(7));
	t.is(connections.size, 4);
});

test('a fresh connection that dies is no dead one: the policy decides', async (t) => {
	const proxy = await startFaultProxy();
	t.teardown(() => proxy.stop());
	proxy.fault = (request) => {
		request.socket.destroy();
		return true;
	};
	const client = newClient(t, { retry: { attempts: 3, firstDelay: 1 } });
	await t.throwsAsync(client.repository(`${proxy.host}/x`).hasBlob({ mediaType: '', digest: `sha256:${'0'.repeat(64)}`, size: 1 }), { name: 'RegistryError', message: /socket hang up/ });
	t.true(proxy.requests.length >= 3);
});
