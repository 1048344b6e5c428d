// Everything that can go wrong with a lazy read, against a mounted disk under fio verify and against running
// builds: the right bytes or an error that names what failed, in bounded time; nothing wrong in the cache,
// nothing left mounted.
import { execFile } from 'node:child_process';
import { readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { buildMountOptions, makeFileSystem, startDeviceServer, type Device, type DeviceError, type LowerLayer } from '../../src/device/index.js';
import { mount, umount } from '../../src/native/system.js';
import { busybox, pushBase, pushBlob, tarOf } from './helpers/base-images.js';
import { leftovers, makePlace, removePlace, sealMounted, withMount, withServer } from './helpers/device.js';
import { startFaultProxy, type FaultProxy } from './helpers/fault-proxy.js';
import { lazyFaults, type LazyFault } from './helpers/lazy-faults.js';
import { leftoversOf } from './helpers/build-leftovers.js';
import { build, makeContext, makeStore, runObd, startObd } from './helpers/obd.js';
import { startRegistry, type TestRegistry } from './helpers/registry.js';

const run = promisify(execFile);

interface Context {
	registry: TestRegistry;
	/** An ext4 with the file that fio wrote, in the registry. */
	digest: string;
	size: number;
}

const test = anyTest as TestFn<Context>;

/** Milliseconds, for a minute in real life: where the registry never comes back, and where reads are to succeed on a busy machine too. */
const shortTimeout = 3000;
const longTimeout = 10_000;
/** Tests that mostly wait, at a time. */
const together = 8;

const verifyJob = (directory: string): string[] => ['--name=verify', `--directory=${directory}`, '--filename=data', '--size=6M', '--bs=64k', '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--ioengine=psync', '--output-format=terse'];

test.before(async (t) => {
	const registry = await startRegistry();
	const place = await makePlace();
	await withServer(place, async (server) => {
		const device = await server.attach({ lowers: [], writable: true, virtualSize: 64 * 1024 * 1024 });
		await makeFileSystem(device.path);
		const blob = path.join(place.root, 'layer');
		const { digest, size } = await withMount(device, place.mountPoint, true, async () => {
			await run('fio', [...verifyJob(place.mountPoint), '--rw=randwrite', '--do_verify=0', '--end_fsync=1']);
			const frozen = await sealMounted(device, place.mountPoint);
			const layer = await frozen.commit({ path: blob, uuid: '11111111-1111-1111-1111-111111111111' });
			await frozen.release();
			return layer;
		});
		await device.detach();
		await pushBlob(registry.host, 'disk', '', await readFile(blob));
		Object.assign(t.context, { registry, digest, size });
	});
	await removePlace(place);
	// A base for builds, with a file of its own to read.
	const store = await makeStore();
	const noise = Buffer.from((await run('openssl', ['rand', '3000000'], { encoding: 'buffer', maxBuffer: 1 << 24 })).stdout);
	await pushBase(registry.host, 'plain', [await tarOf([...busybox(), { name: 'noise', content: noise }])]);
	await build(store, ['-t', `${registry.host}/lazy`, '--push', await makeContext(store, { Dockerfile: `FROM ${registry.host}/plain\nRUN sha256sum /noise > /noise.sum\n` })]);
	await store.dispose();
});

test.after.always((t) => t.context.registry?.stop());

interface Case {
	readonly fault: LazyFault;
	/** Reads that go wrong. */
	readonly hits: number;
}

/** What is said in the end; undefined where reads and builds get over it. */
const problemOf = ({ fault, hits }: Case): RegExp | undefined => (hits === 1 ? undefined : fault.lasting);
const timeoutOf = (one: Case): number => (problemOf(one) ? shortTimeout : longTimeout);

const cases: readonly Case[] = lazyFaults.flatMap((fault) => [{ fault, hits: 1 }, { fault, hits: Infinity }]);

async function inGroups(all: readonly Case[], body: (one: Case) => Promise<void>): Promise<void> {
	for (let i = 0; i < all.length; i += together) await Promise.all(all.slice(i, i + together).map(body));
}

/** Makes the proxy misbehave so many times; returns how often it did. */
function misbehave(proxy: FaultProxy, upstream: string, { fault, hits }: Case): { count: number } {
	const done = { count: 0 };
	proxy.fault = fault.fault(upstream, () => done.count < hits && ++done.count > 0);
	return done;
}

/** '' or what fio says. Past the page cache of another mount. */
async function verify(directory: string): Promise<string> {
	return run('fio', [...verifyJob(directory), '--rw=read', '--verify_only=0', '--invalidate=1', '--readonly']).then(() => '', (error: { stderr: string; stdout: string }) => error.stderr + error.stdout);
}

async function verifyMounted(device: Device, mountPoint: string, broken?: () => void): Promise<string> {
	await mount(device.path, mountPoint, 'ext4', buildMountOptions(false));
	try {
		broken?.();
		return await verify(mountPoint);
	} finally {
		await umount(mountPoint);
	}
}

async function mountedCase(t: ExecutionContext<Context>, one: Case): Promise<void> {
	const { registry, digest, size } = t.context;
	const name = `${one.fault.name}, ${one.hits === 1 ? 'once' : 'for ever'}`;
	const [place, proxy] = await Promise.all([makePlace(), startFaultProxy(registry.host)]);
	const lowers: LowerLayer[] = [{ kind: 'remote', digest, size, source: { repository: `${proxy.host}/disk`, insecure: true } }];
	const server = await startDeviceServer({ ...place, fetchTimeout: timeoutOf(one) });
	try {
		const errors: DeviceError[] = [];
		server.onError((error) => errors.push(error));
		const device = await server.attach({ lowers, writable: false });
		let done = { count: 0 };
		const said = await verifyMounted(device, place.mountPoint, () => { done = misbehave(proxy, registry.host, one); });
		t.true(done.count > 0, `${name}: it happened`);
		const problem = problemOf(one);
		if (!problem) {
			t.is(said, '', name);
			t.deepEqual(errors, [], name);
		} else {
			t.regex(said, /Input\/output error/, name);
			const [error] = errors;
			t.is(error?.digest, digest, name);
			t.regex(error?.message ?? '', new RegExp(`^${digest}: bytes \\d+ to \\d+: `), name);
			t.regex(error?.message ?? '', problem, name);
			if (!/damaged/.test(error?.message ?? '')) t.regex(error?.message ?? '', /tried for [\d.]+ s\)$/, name);
		}
		proxy.fault = () => false;
		t.is(await verifyMounted(device, place.mountPoint), '', `${name}: the device is not spoilt, nor the cache`);
		await device.detach();
	} finally {
		await server.close();
		await proxy.stop();
	}
	t.deepEqual(await leftovers(place), [], name);
	await removePlace(place);
}

async function buildCase(t: ExecutionContext<Context>, one: Case): Promise<void> {
	const { registry } = t.context;
	const name = `${one.fault.name}, ${one.hits === 1 ? 'once' : 'for ever'}`;
	const [store, proxy] = await Promise.all([makeStore(), startFaultProxy(registry.host)]);
	try {
		// The step goes on after errors, as programs do: its result must not count then.
		const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN echo go; sleep 0.5; sha256sum -c /noise.sum; cat /noise | sha256sum > /sum; true\n` });
		const result = path.join(store.directory, 'result');
		const args = ['--fetch-timeout', `${timeoutOf(one)}ms`, '-o', `type=local,dest=${result}`, context];
		const running = startObd(store, args);
		await running.seen(/ go$/m);
		const done = misbehave(proxy, registry.host, one);
		const { code, stderr } = await running.ended;
		t.deepEqual(await leftoversOf(store), [], name);
		t.true(done.count > 0, `${name}: it happened\n${stderr}`);
		const problem = problemOf(one);
		if (!problem) t.is(code, 0, `${name}\n${stderr}`);
		else {
			t.is(code, 1, `${name}\n${stderr}`);
			t.regex(stderr, problem, name);
			t.regex(stderr, new RegExp(`ERROR: failed to build: .*sha256:[0-9a-f]{64}: bytes \\d+ to \\d+: `), name);
		}
		proxy.fault = () => false;
		const again = await runObd(store, args);
		t.is(again.code, 0, `${name}, built again\n${again.stderr}`);
		const sum = (await readFile(path.join(result, 'sum'), 'utf8')).split(' ')[0];
		t.is(sum, (await readFile(path.join(result, 'noise.sum'), 'utf8')).split(' ')[0], name);
	} finally {
		await proxy.stop();
		await store.dispose();
	}
}

test.serial('a mounted disk under fio verify, whatever the registry does', async (t) => {
	t.timeout(240_000);
	await inGroups(cases, (one) => mountedCase(t, one));
});

test.serial('a running build, whatever the registry does', async (t) => {
	t.timeout(240_000);
	await inGroups(cases, (one) => buildCase(t, one));
});

/** What opening says of the registry's part in it; damage there is found by what a layer's format has to find it. */
const opening = (fault: LazyFault): RegExp => (/wrong bytes|zeros/.test(fault.name) ? /: (zfile|lsmt): |not an overlaybd layer/ : fault.lasting ?? /never/);

/** The registry fails from the first read of a layer on: before the step has begun. */
async function openingCase(t: ExecutionContext<Context>, one: Case): Promise<void> {
	const { registry } = t.context;
	const name = `${one.fault.name} while layers are opened, ${one.hits === 1 ? 'once' : 'for ever'}`;
	const [store, proxy] = await Promise.all([makeStore(), startFaultProxy(registry.host)]);
	try {
		const context = await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN echo has begun; sha256sum -c /noise.sum\n` });
		const args = ['--fetch-timeout', `${timeoutOf(one)}ms`, '--no-cache', context];
		const done = misbehave(proxy, registry.host, one);
		const fault = proxy.fault;
		proxy.fault = (request, ...rest) => request.headers.range !== undefined && fault(request, ...rest);
		const { code, stderr } = await runObd(store, args);
		t.deepEqual(await leftoversOf(store), [], name);
		t.true(done.count > 0, `${name}: it happened\n${stderr}`);
		t.notRegex(stderr, /unhandled|at async /i, name);
		if (!problemOf(one)) t.is(code, 0, `${name}\n${stderr}`);
		else {
			t.is(code, 1, `${name}\n${stderr}`);
			t.notRegex(stderr, / has begun$/m, name);
			t.regex(stderr, opening(one.fault), name);
			t.regex(stderr, /ERROR: failed to build: .*sha256:[0-9a-f]{64}/, name);
		}
		proxy.fault = () => false;
		const again = await runObd(store, args);
		t.is(again.code, 0, `${name}, built again\n${again.stderr}`);
	} finally {
		await proxy.stop();
		await store.dispose();
	}
}

test.serial('layers that are opened before a step, whatever the registry does', async (t) => {
	t.timeout(240_000);
	await inGroups(cases, (one) => openingCase(t, one));
});

test.serial('a registry that is away for a while is waited for, and one that stays away is named', async (t) => {
	const { registry, digest, size } = t.context;
	const [place, proxy] = await Promise.all([makePlace(), startFaultProxy(registry.host)]);
	const server = await startDeviceServer({ ...place, fetchTimeout: shortTimeout });
	const errors: DeviceError[] = [];
	server.onError((error) => errors.push(error));
	const device = await server.attach({ lowers: [{ kind: 'remote', digest, size, source: { repository: `${proxy.host}/disk`, insecure: true } }], writable: false });
	await withMount(device, place.mountPoint, false, async () => {
		await proxy.stop();
		const reading = verify(place.mountPoint);
		await new Promise((resolve) => setTimeout(resolve, 1000));
		await proxy.listen();
		t.is(await reading, '');
		t.deepEqual(errors, []);
	});
	await rm(path.join(place.root, 'cache'), { recursive: true });
	await device.detach();
	const cold = await server.attach({ lowers: [{ kind: 'remote', digest, size, source: { repository: `${proxy.host}/disk`, insecure: true } }], writable: false });
	await withMount(cold, place.mountPoint, false, async () => {
		await proxy.stop();
		t.regex(await verify(place.mountPoint), /Input\/output error/);
		t.regex(errors[0]?.message ?? '', new RegExp(`^${digest}: bytes \\d+ to \\d+: failed to do request: GET http://${proxy.host}/.*ECONNREFUSED.*tried for `));
	});
	await cold.detach();
	await server.close();
	t.deepEqual(await leftovers(place), []);
	await removePlace(place);
});

test.serial('a build is cancelled at once while it waits for a registry that hangs', async (t) => {
	const { registry } = t.context;
	const [store, proxy] = await Promise.all([makeStore(), startFaultProxy(registry.host)]);
	let hung: () => void = () => undefined;
	const waiting = new Promise<void>((resolve) => { hung = resolve; });
	let blobs = 0;
	proxy.fault = (request) => {
		if (request.url?.includes('/blobs/') !== true || ++blobs < 8) return false;
		hung();
		return true;
	};
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN cat /noise > /dev/null\n` })]);
	await waiting;
	running.interrupt();
	const { code } = await running.ended;
	t.is(code, 130);
	t.deepEqual(await leftoversOf(store), []);
	await proxy.stop();
	await store.dispose();
});
