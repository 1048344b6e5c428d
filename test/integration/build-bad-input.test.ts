// Bad input to whole builds: Dockerfiles, contexts, registries, layers and disks. Each gives one error that
// names the place, exit code 1, and leaves nothing behind.
import { randomBytes } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { mount, umount } from '../../src/native/system.js';
import { busybox, getManifest, pushBase, pushBlob, pushManifest, tarOf } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { damagedBlobs } from './helpers/build-leftovers.js';
import { answer, startFaultProxy, type Fault, type FaultProxy } from './helpers/fault-proxy.js';
import { build, makeContext, runObd, type ProgramResult, type TestStore } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Builds what must fail; the output, which ends with the error. */
async function failure(t: ExecutionContext, store: TestStore, args: readonly string[], run: () => Promise<ProgramResult> = () => runObd(store, args)): Promise<string> {
	const { code, stderr, stdout } = await run();
	t.is(code, 1, stderr);
	t.is(stdout, '');
	t.regex(errorOf(stderr), /^ERROR: failed to build: /);
	t.notRegex(stderr, /^ {4}at /m, 'no stack traces');
	await nothingLeft(t, store);
	t.deepEqual(await damagedBlobs(store), []);
	return stderr;
}

/** The error, with what a registry had to say on lines of its own. */
function errorOf(output: string): string {
	return /^ERROR: [^]*/m.exec(output)?.[0] ?? '';
}

async function proxyOf(t: ExecutionContext, registry: string, fault: Fault): Promise<FaultProxy> {
	const proxy = await startFaultProxy(registry);
	proxy.fault = fault;
	t.teardown(() => proxy.stop());
	return proxy;
}

for (const [what, dockerfile, error, line] of [
	['no instruction', '# nothing\n', /the Dockerfile cannot be empty|file with no instructions/, 0],
	['an unknown instruction', 'FROM scratch\nRUNN true\n', /dockerfile parse error on line 2: unknown instruction: RUNN \(did you mean RUN\?\)/, 2],
	['an unknown flag', 'FROM scratch\nCOPY --chwon=1 a b\n', /dockerfile parse error on line 2: unknown flag: --chwon \(did you mean chown\?\)/, 2],
	['no FROM', 'RUN true\n', /no build stage in current context/, 1],
	['an unterminated heredoc', 'FROM scratch\nCOPY <<EOF /x\nnever ends\n', /unterminated heredoc/, 2],
	['an unknown stage', 'FROM scratch\nCOPY --from=7 /a /b\n', /invalid stage index 7/, 0],
	['a bad substitution', 'FROM scratch\nENV A=${B*}\n', /failed to process "\$\{B\*\}": unsupported modifier \(\*\) in substitution/, 2],
	['binary data', '\u0000\u0001\u0002\n', /dockerfile parse error on line 1: unknown instruction/, 1],
] as const) {
	test.serial(`a Dockerfile with ${what}`, async (t) => {
		const { store } = t.context;
		const output = await failure(t, store, [await makeContext(store, { Dockerfile: dockerfile })]);
		t.regex(errorOf(output), error);
		if (line > 0) t.regex(output, new RegExp(`^Dockerfile:${line}$`, 'm'));
	});
}

for (const [what, name, error] of [
	['a Dockerfile', '', /failed to read dockerfile: open Dockerfile: no such file or directory/],
	['a base image', 'nothing-here', /127\.0\.0\.1:\d+\/nothing-here:latest: not found/],
] as const) {
	test.serial(`${what} that is not there`, async (t) => {
		const { registry, store } = t.context;
		const output = await failure(t, store, [await makeContext(store, name === '' ? { file: '' } : { Dockerfile: `FROM ${registry.host}/${name}\n` })]);
		t.regex(errorOf(output), error);
	});
}

for (const [status, error] of [
	[401, /401|authoriz/i],
	[403, /403 Forbidden|denied/],
	[404, /not found/i],
	[429, /429 Too Many Requests/],
	[500, /500 Internal Server Error/],
	[503, /503 Service Unavailable/],
] as const) {
	test.serial(`a registry that answers ${status} for a base and to a push`, async (t) => {
		const { registry, store } = t.context;
		const proxy = await proxyOf(t, registry.host, (_, response) => answer(response, status, {}, JSON.stringify({ errors: [{ code: 'TEST', message: 'no luck today' }] })));
		const base = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/base\nRUN true\n` })]);
		t.regex(errorOf(base), error);
		t.true(errorOf(base).includes(`${proxy.host}/base`), errorOf(base));
		t.regex(base, /^Dockerfile:1$/m);
		proxy.fault = (request, response) => request.method !== 'GET' && request.method !== 'HEAD' && answer(response, status, {}, JSON.stringify({ errors: [{ code: 'TEST', message: 'no luck today' }] }));
		const push = await failure(t, store, ['-t', `${proxy.host}/pushed`, '--push', await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY Dockerfile /\n' })]);
		t.regex(errorOf(push), error);
		t.true(errorOf(push).includes(proxy.host), errorOf(push));
	});
}

test.serial('a registry that is not there', async (t) => {
	const { store } = t.context;
	const output = await failure(t, store, [await makeContext(store, { Dockerfile: 'FROM 127.0.0.1:9/base\nRUN true\n' })]);
	t.regex(errorOf(output), /127\.0\.0\.1:9/);
	t.regex(errorOf(output), /ECONNREFUSED|connection refused/);
});

test.serial('a registry that cuts the connection in every download of a layer', async (t) => {
	const { registry } = t.context;
	const store = await ownStore(t);
	const layer = (await getManifest(registry.host, 'base')).manifest.layers[0]?.digest ?? '';
	const proxy = await proxyOf(t, registry.host, (request, response) => {
		if (request.url?.endsWith(layer) !== true) return false;
		response.writeHead(200, { 'content-length': '1000000' });
		response.write(Buffer.alloc(1000), () => response.destroy());
		return true;
	});
	const output = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/base\nRUN true\n` })]);
	t.true(errorOf(output).includes(layer), errorOf(output));
	t.regex(output, /^Dockerfile:1$/m);
});

test.serial('documents and layers that are not what their digest says', async (t) => {
	const { registry } = t.context;
	const { manifest } = await getManifest(registry.host, 'base');
	for (const [what, digest] of [['config', manifest.config.digest], ['layer', manifest.layers[0]?.digest ?? '']] as const) {
		const store = await ownStore(t);
		const bytes = Buffer.from(await (await fetch(`http://${registry.host}/v2/base/blobs/${digest}`)).arrayBuffer());
		bytes[bytes.length - 1]! ^= 1;
		const proxy = await proxyOf(t, registry.host, (request, response) => request.method === 'GET' && request.url?.endsWith(digest) === true && answer(response, 200, { 'content-length': bytes.length }, bytes));
		const output = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/base\nRUN true\n` })]);
		t.true(errorOf(output).includes(digest), `${what}: ${errorOf(output)}`);
	}
});

test.serial('ordinary layers that are no tars, cut short, or of an unknown kind', async (t) => {
	const { registry: { host } } = t.context;
	const tar = gzipSync(await tarOf(busybox()));
	const { manifest } = await getManifest(host, 'base');
	for (const [name, mediaType, bytes, error] of [
		['garbage', 'application/vnd.oci.image.layer.v1.tar+gzip', randomBytes(5000), /gzip|not in gzip|tar/i],
		['garbage-inside', 'application/vnd.oci.image.layer.v1.tar+gzip', gzipSync(randomBytes(5000)), /tar/i],
		['short', 'application/vnd.oci.image.layer.v1.tar+gzip', tar.subarray(0, tar.length >> 1), /unexpected EOF/],
		['unknown', 'application/vnd.oci.image.layer.v1.squashfs', tar, /squashfs/],
	] as const) {
		const store = await ownStore(t);
		const blob = await pushBlob(host, name, mediaType, bytes);
		const config = await pushBlob(host, name, manifest.config.mediaType, Buffer.from(await (await fetch(`http://${host}/v2/base/blobs/${manifest.config.digest}`)).arrayBuffer()));
		await pushManifest(host, name, { schemaVersion: 2, mediaType: manifest.mediaType, config, layers: [blob] });
		const output = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${host}/${name}\nRUN true\n` })]);
		t.true(errorOf(output).includes(blob.digest) || name === 'unknown', `${name}: ${errorOf(output)}`);
		t.regex(errorOf(output), error, name);
		t.regex(output, /^Dockerfile:1$/m, name);
	}
});

test.serial('overlaybd layers that were cut short or changed', async (t) => {
	const { base, registry: { host } } = t.context;
	const maker = await ownStore(t);
	await build(maker, ['-t', `${host}/native`, '--push', await makeContext(maker, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, data: randomBytes(1 << 20) })]);
	const { manifest } = await getManifest(host, 'native');
	const layer = manifest.layers.at(-1);
	const config = Buffer.from(await (await fetch(`http://${host}/v2/native/blobs/${manifest.config.digest}`)).arrayBuffer());
	if (!layer) throw new Error('the image has no layers');
	const bytes = Buffer.from(await (await fetch(`http://${host}/v2/native/blobs/${layer.digest}`)).arrayBuffer());
	const changed = (...places: readonly number[]): Buffer => {
		const copy = Buffer.from(bytes);
		for (const at of places) for (let i = 0; i < 64; i++) copy[at + i]! ^= 0x5a;
		return copy;
	};
	for (const [name, content] of [
		['cut', bytes.subarray(0, bytes.length - 4096)],
		['data', changed(bytes.length >> 1)],
		// What the header says stands in the trailer again: one of them is enough.
		['ends', changed(bytes.lastIndexOf('ZFile'), bytes.indexOf('ZFile'))],
	] as const) {
		const store = await ownStore(t);
		const repository = `native-${name}`;
		for (const { digest, mediaType } of manifest.layers.slice(0, -1)) await pushBlob(host, repository, mediaType, Buffer.from(await (await fetch(`http://${host}/v2/native/blobs/${digest}`)).arrayBuffer()));
		const blob = await pushBlob(host, repository, layer.mediaType, content);
		const annotations = { ...layer.annotations, 'containerd.io/snapshot/overlaybd/blob-digest': blob.digest, 'containerd.io/snapshot/overlaybd/blob-size': String(blob.size) };
		await pushBlob(host, repository, manifest.config.mediaType, config);
		await pushManifest(host, repository, { ...manifest, layers: [...manifest.layers.slice(0, -1), { ...blob, annotations }] });
		const output = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${host}/${repository}\nRUN cat /data > /dev/null\n` })]);
		t.true(errorOf(output).includes(blob.digest), `${name}: ${errorOf(output)}`);
	}
});

test.serial('a full disk in a RUN, a COPY and a conversion', async (t) => {
	const { base, registry: { host } } = t.context;
	await pushBase(host, 'large', [await tarOf([...busybox(), { name: 'large', content: randomBytes(40 << 20) }])]);
	for (const [what, dockerfile] of [
		['RUN', `FROM ${base}\nRUN dd if=/dev/urandom of=/large bs=1M count=60; sync; cat /large > /dev/null\n`],
		['COPY', `FROM ${base}\nCOPY large /large\n`],
		['FROM', `FROM ${host}/large\nRUN true\n`],
	] as const) {
		const directory = await mkdtemp(path.join(tmpdir(), 'obd-full-'));
		await mount('tmpfs', directory, 'tmpfs', 'size=24m');
		t.teardown(async () => {
			await umount(directory);
			await rm(directory, { recursive: true });
		});
		const store = await ownStore(t, { root: directory });
		const output = await failure(t, store, [await makeContext(store, { Dockerfile: dockerfile, large: randomBytes(60 << 20) })]);
		t.regex(output, /[Nn]o space left on device/, what);
		// With room again the same store is good for a build.
		await mount('tmpfs', directory, 'tmpfs', 'remount,size=400m');
		await build(store, [await makeContext(store, { Dockerfile: `FROM ${base}\nRUN true\n` })]);
	}
});

test.serial('a context with files that cannot be read', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY . /all\n`, 'open': 'x', 'dir/secret': 'y' });
	await chmod(path.join(context, 'dir/secret'), 0);
	execFileSync('chown', ['12345', path.join(context, 'dir/secret')]);
	// Root without the right to read everything, as in some CI containers.
	const output = await failure(t, store, [], () => runObd(store, [context], { without: ['dac_override', 'dac_read_search'] }));
	t.regex(errorOf(output), /dir\/secret.*permission denied/i);
	await chmod(path.join(context, 'dir/secret'), 0o644);
	await build(store, [context]);
});

test.serial('a context with sockets, fifos and symlink loops', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY . /all\nRUN ls -l /all && test -L /all/loop && test -L /all/dir/up && test -p /all/fifo\n`, file: 'x' });
	execFileSync('perl', ['-MIO::Socket::UNIX', '-e', 'IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 1) or die $!', path.join(context, 'socket')]);
	execFileSync('mkfifo', [path.join(context, 'fifo')]);
	await symlink('loop', path.join(context, 'loop'));
	await mkdir(path.join(context, 'dir'));
	await symlink('..', path.join(context, 'dir/up'));
	await build(store, [context]);
	await nothingLeft(t, store);
	const named = await failure(t, store, [await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY loop/file /all/\n` }).then(async (directory) => {
		await symlink('loop', path.join(directory, 'loop'));
		return directory;
	})]);
	t.regex(named, /^Dockerfile:2$/m);
});

test.serial('a COPY from outside the context', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY ../../../../etc/hostname /x\n` });
	const output = await failure(t, store, [context]);
	t.regex(errorOf(output), /"\/etc\/hostname": not found/);
	t.regex(output, /^Dockerfile:2$/m);

	const linked = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY link/hostname /x\n` });
	await symlink('/etc', path.join(linked, 'link'));
	t.regex(errorOf(await failure(t, store, [linked])), /"\/link\/hostname": not found/);
});
