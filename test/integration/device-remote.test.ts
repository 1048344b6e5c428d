// Devices over layers that stay in a registry: what is fetched, and what happens when it cannot be.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import type http from 'node:http';
import { mkdir, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import anyTest, { type TestFn } from 'ava';
import { buildMountOptions, startDeviceServer, type DeviceError, type DeviceServer, type LowerLayer } from '../../src/device/index.js';
import { mount, umount } from '../../src/native/system.js';
import { leftovers, makePlace, removePlace, serverProcesses, sha256, withLayers, withMount, withServer, type Place } from './helpers/device.js';
import { startRegistry, type TestRegistry } from './helpers/registry.js';
import { startProxy, type RegistryProxy } from './helpers/registry-proxy.js';

const run = promisify(execFile);

interface Context {
	place: Place;
	registry: TestRegistry;
	proxy: RegistryProxy;
	/** Golden layers, bottom first, in the registry. */
	lowers: (LowerLayer & { kind: 'remote' })[];
}

const test = anyTest as TestFn<Context>;

const golden = fileURLToPath(new URL('../../../testdata/golden/layers/', import.meta.url));
const stack = ['base.lz4.tar', 'layer2.lz4.tar', 'layer3.lz4.tar'];
/** Of the decoded disk (golden MANIFEST, flat-stack3). */
const stackSha256 = 'c1b3a392f9691009838f5c4f0103c252db6c6c8d72daaded810a093b2bf3733a';

test.beforeEach(async (t) => {
	const [place, registry] = await Promise.all([makePlace(), startRegistry()]);
	const proxy = await startProxy(registry.host);
	const lowers = await Promise.all(stack.map((name) => push(registry.host, proxy.host, path.join(golden, name))));
	t.context = { place, registry, proxy, lowers };
});

test.afterEach.always(async (t) => {
	await t.context.proxy.close();
	await t.context.registry.stop();
	t.deepEqual(await leftovers(t.context.place), []);
	await removePlace(t.context.place);
});

async function push(host: string, readFrom: string, file: string): Promise<LowerLayer & { kind: 'remote' }> {
	const bytes = await readFile(file);
	const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
	const started = await fetch(`http://${host}/v2/base/blobs/uploads/`, { method: 'POST' });
	const location = new URL(started.headers.get('location') ?? '');
	location.searchParams.set('digest', digest);
	const done = await fetch(location, { method: 'PUT', body: new Uint8Array(bytes), headers: { 'content-type': 'application/octet-stream' } });
	if (done.status !== 201) throw new Error(`push of ${file}: ${done.status} ${await done.text()}`);
	return { kind: 'remote', digest, size: bytes.length, source: { repository: `${readFrom}/base`, insecure: true } };
}

/** Reads the whole device past the page cache; the error when it fails. */
async function readAll(device: string): Promise<string> {
	return run('dd', [`if=${device}`, 'of=/dev/null', 'bs=1M', 'iflag=direct', 'status=none']).then(() => '', (error: { stderr: string }) => error.stderr);
}

const total = (counts: Readonly<Record<string, number>>): number => Object.values(counts).reduce((sum, bytes) => sum + bytes, 0);

test('a disk in a registry reads as it was written; the bytes come once, for all processes', async (t) => {
	const { place, proxy, lowers } = t.context;
	const size = lowers.reduce((sum, lower) => sum + lower.size, 0);
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers, writable: false });
		t.true(total(await server.fetched()) <= 6 * 65536 * lowers.length, 'attaching reads trailers and indexes');
		t.is(await sha256(device.path), stackSha256);
		const wire = (): number => proxy.passed.reduce((sum, { bytes }) => sum + bytes, 0);
		// What was read ahead may still be on its way.
		for (let i = 0; i < 500 && total(await server.fetched()) !== wire(); i++) await new Promise((resolve) => { setTimeout(resolve, 10); });
		const fetched = total(await server.fetched());
		t.true(fetched <= size);
		t.is(fetched, wire(), 'the count is that of the wire');
		t.deepEqual((await device.stats()).fetched, await server.fetched());
		await device.detach();
		await withLayers(server, lowers, async (again) => t.is(await sha256(again.path), stackSha256));
		t.is(total(await server.fetched()), fetched);
	});
	proxy.passed.length = 0;
	await withServer({ ...place, instanceDir: path.join(place.root, 'run', 'second') }, async (server) => {
		await withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256));
		t.deepEqual(await server.fetched(), {});
	});
	t.deepEqual(proxy.passed, []);
});

test('many readers of cold blocks cause no block to be fetched twice', async (t) => {
	const { place, proxy, lowers } = t.context;
	await withServer(place, async (server) => {
		const devices = await Promise.all([0, 1, 2].map(() => server.attach({ lowers, writable: true })));
		const sums = await Promise.all([...devices, ...devices].map((device) => sha256(device.path)));
		t.deepEqual(new Set(sums), new Set([stackSha256]));
		await Promise.all(devices.map((device) => device.detach()));
	});
	const ranges = proxy.passed.map((request) => `${request.url} ${request.bytes}`);
	t.true(proxy.passed.reduce((sum, { bytes }) => sum + bytes, 0) <= lowers.reduce((sum, lower) => sum + lower.size, 0), ranges.join('\n'));
});

test('layers that were opened ahead cost their attach no request, and what is foreseen of them comes before it', async (t) => {
	const { place, proxy, lowers } = t.context;
	await withServer(place, async (server) => {
		const [base] = lowers;
		if (!base) throw new Error('no layers');
		const opened = await server.open(lowers, [{ digest: base.digest, first: 0, count: 1 }]);
		while (!proxy.passed.some(({ url, range }) => url.includes(base.digest) && range?.startsWith('bytes=0-') === true)) await new Promise((resolve) => { setTimeout(resolve, 10); });
		const requests = proxy.passed.length;
		const device = await server.attach({ lowers, writable: false });
		await opened.close();
		await opened.close();
		t.is(proxy.passed.length, requests);
		t.is(await sha256(device.path), stackSha256);
		await device.detach();
	});
});

test('a server that rests fetches nothing anew for what it has, and its count goes on', async (t) => {
	const { place, lowers } = t.context;
	await withServer(place, async (server) => {
		await withLayers(server, lowers, async (device) => void await sha256(device.path));
		const opened = await server.open(lowers, []);
		await server.rest();
		t.is((await serverProcesses(place)).length, 1, 'layers are open');
		await opened.close();
		await server.stopFetching();
		await server.rest();
		const fetched = await server.fetched();
		t.true(total(fetched) > 0);
		t.deepEqual(await serverProcesses(place), []);
		await server.stopFetching();
		await server.resumeFetching();
		t.deepEqual(await serverProcesses(place), [], 'there is nothing to stop');
		await withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256));
		const again = total(await server.fetched());
		t.true(again >= total(fetched) && again <= lowers.reduce((sum, lower) => sum + lower.size, 0), `${total(fetched)}, then ${again}`);
	});
});

test('a mount and a small file cost a small part of the layers', async (t) => {
	const { place, lowers } = t.context;
	await withServer(place, async (server) => {
		await withLayers(server, lowers, async (device) => {
			await withMount(device, place.mountPoint, false, async () => {
				t.true((await readdir(place.mountPoint)).length > 3);
			});
		});
		t.true(total(await server.fetched()) < lowers.reduce((sum, lower) => sum + lower.size, 0));
	});
});

/** Attaches, then has the device read while `proxy` misbehaves. What the reader and the builder are told. */
async function readWith(server: DeviceServer, lowers: readonly LowerLayer[]): Promise<{ readonly stderr: string; readonly errors: DeviceError[] }> {
	const errors: DeviceError[] = [];
	const stop = server.onError((error) => errors.push(error));
	const stderr = await withLayers(server, lowers, (device) => readAll(device.path));
	stop();
	return { stderr, errors };
}

test('bytes that cannot be fetched are an I/O error that names blob, offset and cause, and can be read later', async (t) => {
	const { place, proxy, lowers } = t.context;
	const bottom = lowers[0];
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers, writable: false });
		const errors: DeviceError[] = [];
		server.onError((error) => errors.push(error));
		proxy.intercept = (_, response) => {
			response.writeHead(403, { 'content-type': 'application/json' }).end('{"errors":[{"code":"DENIED","message":"no more for you"}]}');
			return true;
		};
		t.regex(await readAll(device.path), /Input\/output error/);
		await device.stats(); // what the disk says comes before the answer to a later call
		const error = errors[0];
		t.is(error?.path, device.path);
		t.is(error?.operation, 'read');
		t.true(lowers.some((lower) => lower.digest === error?.digest));
		t.regex(error?.message ?? '', new RegExp(`^${error?.digest}: bytes ${error?.blobOffset} to \\d+: .*(403|denied|DENIED)`));

		proxy.intercept = () => false;
		t.is(await sha256(device.path), stackSha256, 'the device is not spoilt by the error');
		await device.detach();
	});
	t.truthy(bottom);
});

test('what cannot be explained is in the report with the reason, and all its bytes', async (t) => {
	const { place, proxy, lowers } = t.context;
	const server = await startDeviceServer({ ...place, noteReads: true });
	t.teardown(() => server.close());
	await withLayers(server, lowers, async () => {
		proxy.intercept = (_, response) => {
			response.writeHead(403).end();
			return true;
		};
		const fetched = await server.fetched();
		t.true(total(fetched) > 0);
		const refused = await server.explainReads();
		t.deepEqual(Object.keys(refused).sort(), Object.keys(fetched).sort());
		for (const [digest, parts] of Object.entries(refused)) {
			t.deepEqual(parts.map(({ bytes }) => bytes), [fetched[digest]]);
			t.regex(parts[0]?.path ?? '', /^\[not explained: sha256:[0-9a-f]+: bytes \d+ to \d+: .*403/);
		}
		proxy.intercept = () => false;
		const explained = Object.values(await server.explainReads()).flat();
		t.true(explained.some(({ path }) => path === '[overlaybd headers and indexes]'));
		t.false(explained.some(({ path }) => path.startsWith('[not explained')));
	});
});

test('a server that ends does not wait for a registry that hangs', async (t) => {
	const { place, proxy, lowers } = t.context;
	const server = await startDeviceServer(place);
	const device = await server.attach({ lowers, writable: false });
	await mount(device.path, place.mountPoint, 'ext4', buildMountOptions(false));
	let asked: () => void = () => undefined;
	const waiting = new Promise<void>((resolve) => (asked = resolve));
	proxy.intercept = () => {
		asked();
		return true; // and never answers
	};
	const errors: DeviceError[] = [];
	server.onError((error) => errors.push(error));
	const reader = readAll(device.path);
	await waiting;
	await server.close();
	t.regex(errors[0]?.message ?? '', /the device server is ending/);
	t.regex(await reader, /Input\/output error|No such device/);
});

test('a layer that is not in the registry fails the attach by name', async (t) => {
	const { place, lowers } = t.context;
	const digest = `sha256:${'ab'.repeat(32)}`;
	await withServer(place, async (server) => {
		await t.throwsAsync(server.attach({ lowers: [...lowers, { ...lowers[0], digest } as LowerLayer], writable: true }), { message: new RegExp(`${digest}.*not found`) });
	});
});

test('wrong bytes are fetched once more, and are an error when they stay wrong: never data', async (t) => {
	const { place, proxy, lowers } = t.context;
	await withServer(place, async (server) => {
		await withLayers(server, lowers, () => Promise.resolve()); // trailers and indexes are in the cache and right
		let wrong = 1;
		proxy.alter = (_, chunk) => {
			if (wrong === 0 || chunk.length < 20_000) return chunk;
			wrong--;
			const changed = Buffer.from(chunk);
			changed[12_345] = (changed[12_345] ?? 0) ^ 0xff;
			return changed;
		};
		const once = await readWith(server, lowers);
		t.deepEqual(once, { stderr: '', errors: [] });
		t.is(wrong, 0);
	});
	await rm(path.join(place.root, 'cache'), { recursive: true });
	await withServer(place, async (server) => {
		proxy.alter = (_, chunk) => chunk;
		await withLayers(server, lowers, () => Promise.resolve());
		proxy.alter = (_, chunk) => {
			const changed = Buffer.from(chunk);
			for (let i = 5000; i < changed.length; i += 10_000) changed[i] = (changed[i] ?? 0) ^ 0xff;
			return changed;
		};
		proxy.passed.length = 0;
		const always = await readWith(server, lowers);
		t.regex(always.stderr, /Input\/output error/);
		t.true(proxy.passed.length < 200, `${proxy.passed.length} requests`);
		t.regex(always.errors[0]?.message ?? '', /sha256:.*(checksum|crc|corrupt)/i);

		proxy.alter = (_, chunk) => chunk;
		await withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256, 'nothing wrong stayed in the cache'));
	});
});

/** Damages what it is sent of blobs from the first data block on: trailers and indexes stay right. */
function damaging(request: http.IncomingMessage, chunk: Buffer): Buffer {
	if (!/^bytes=/.test(request.headers.range ?? '') || chunk.length < 20_000) return chunk;
	const changed = Buffer.from(chunk);
	for (let i = 5000; i < changed.length; i += 10_000) changed[i] = (changed[i] ?? 0) ^ 0xff;
	return changed;
}

test('mirrors are asked in their order; where one sends damaged content, the registry itself is asked, then the others', async (t) => {
	const { place, registry, proxy, lowers } = t.context;
	const mirrors = await Promise.all([startProxy(registry.host), startProxy(registry.host)]);
	t.teardown(() => Promise.all(mirrors.map((mirror) => mirror.close())));
	const [first, second] = mirrors as [RegistryProxy, RegistryProxy];
	const hosts = { [proxy.host]: { mirrors: [first.host, second.host] } };
	const read = async (): Promise<{ readonly disk: string; readonly errors: DeviceError[] }> => {
		await rm(path.join(place.root, 'cache'), { recursive: true, force: true });
		for (const one of [proxy, ...mirrors]) one.passed.length = 0;
		const server = await startDeviceServer({ ...place, hosts, fetchTimeout: 3000 });
		const errors: DeviceError[] = [];
		server.onError((error) => errors.push(error));
		try {
			const disk = await withLayers(server, lowers, (device) => sha256(device.path).catch((error: Error) => error.message));
			return { disk, errors };
		} finally {
			await server.close();
		}
	};

	const healthy = await read();
	t.deepEqual(healthy, { disk: stackSha256, errors: [] });
	t.true(first.passed.length > 0);
	t.deepEqual([second.passed, proxy.passed], [[], []]);

	first.alter = damaging;
	const damaged = await read();
	t.deepEqual(damaged, { disk: stackSha256, errors: [] });
	t.true(proxy.passed.length > 0, 'the registry itself was asked');
	t.deepEqual(second.passed, []);

	proxy.intercept = (_, response) => {
		response.writeHead(404).end();
		return true;
	};
	const helped = await read();
	t.deepEqual(helped, { disk: stackSha256, errors: [] });
	t.true(second.passed.length > 0, 'the other mirror was asked');

	second.alter = damaging;
	const lost = await read();
	t.not(lost.disk, stackSha256);
	t.regex(lost.errors[0]?.message ?? '', /sha256:.*the registry sends damaged content: block \d+ does not match its checksum/);

	// Nothing wrong was kept.
	for (const mirror of mirrors) mirror.alter = (_, chunk) => chunk;
	const server = await startDeviceServer({ ...place, hosts });
	try {
		await withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256));
	} finally {
		await server.close();
	}
});

test('damage in the block cache is found, thrown away and fetched again', async (t) => {
	const { place, lowers } = t.context;
	const cache = path.join(place.root, 'cache', 'blocks');
	await withServer(place, (server) => withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256)));
	const damage: { apply: (file: string) => Promise<void>; isLost: boolean }[] = [
		{ apply: damagePages, isLost: true },
		// The table of what is there, and the header. What the first extents hold is there decompressed as well.
		{ apply: (file) => overwrite(file, 4096, Buffer.alloc(8, 0xff)), isLost: false },
		{ apply: (file) => overwrite(file, 20, Buffer.alloc(8, 7)), isLost: true },
		{ apply: async (file) => truncate(file, Math.floor((await stat(file)).size / 4)), isLost: true },
		{ apply: (file) => truncate(file, 0), isLost: true },
		{ apply: (file) => rm(file), isLost: true },
	];
	for (const [n, { apply, isLost }] of damage.entries()) {
		for (const name of await readdir(cache)) await apply(path.join(cache, name));
		await withServer(place, async (server) => {
			await withLayers(server, lowers, async (device) => t.is(await sha256(device.path), stackSha256, `damage ${n}`));
			t.is(total(await server.fetched()) > 0, isLost, `damage ${n}`);
		});
	}
});

async function overwrite(file: string, at: number, bytes: Buffer): Promise<void> {
	const handle = await open(file, 'r+');
	await handle.write(bytes, 0, bytes.length, at);
	await handle.close();
}

/** A byte of each page that is in use, but for the header and the table of what is there. */
async function damagePages(file: string): Promise<void> {
	const content = await readFile(file);
	for (let page = 8192; page < content.length; page += 4096) {
		const at = page + content.subarray(page, page + 4096).findIndex((byte) => byte !== 0);
		if (at >= page) content.writeUInt8(content.readUInt8(at) ^ 1, at);
	}
	await writeFile(file, content);
}

test('a block cache without room is an error that says so', async (t) => {
	const { place, lowers } = t.context;
	const cache = path.join(place.root, 'cache');
	await mkdir(cache);
	await mount('tmpfs', cache, 'tmpfs', 'size=100k');
	try {
		await withServer(place, async (server) => {
			const { stderr, errors } = await readWith(server, lowers);
			t.regex(stderr, /Input\/output error/);
			t.regex(errors[0]?.message ?? '', /block cache: .*No space left on device/);
		});
	} finally {
		await umount(cache);
	}
});

test('the cache may be deleted under a running device', async (t) => {
	const { place, lowers } = t.context;
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers, writable: false });
		await rm(path.join(place.root, 'cache'), { recursive: true });
		t.is(await sha256(device.path), stackSha256);
		await device.detach();
	});
});
