// Builds that are told to stop, at every kind of work: they end by themselves and leave nothing behind.
import { randomBytes } from 'node:crypto';
import type { ExecutionContext } from 'ava';
import anyTest, { type TestFn } from 'ava';
import { busybox, getManifest, pushBase, tarOf } from './helpers/base-images.js';
import { damagedBlobs } from './helpers/build-leftovers.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startFaultProxy, type Fault, type FaultProxy } from './helpers/fault-proxy.js';
import { build, makeContext, runObd, startObd, stateOf, type RunningProgram, type TestStore } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Sends Ctrl-C and waits for the end: exit code 130, the words BuildKit has for it, and nothing left. */
async function endsClean(t: ExecutionContext, store: TestStore, running: RunningProgram): Promise<string> {
	const since = performance.now();
	running.interrupt();
	const { code, signal, stderr } = await running.ended;
	t.log(`${Math.round(performance.now() - since)} ms`);
	t.deepEqual([code, signal], [130, null], stderr);
	t.regex(stderr, /ERROR: failed to build: failed to solve: Canceled: context canceled\n$/);
	await nothingLeft(t, store);
	t.deepEqual(await damagedBlobs(store), []);
	return stderr;
}

/** A proxy that takes one kind of request and never answers, or stops in the middle of the answer; `stalled` resolves then. */
async function stallingProxy(t: ExecutionContext, upstream: string, matches: (method: string, url: string) => boolean): Promise<{ proxy: FaultProxy; stalled: Promise<void> }> {
	const proxy = await startFaultProxy(upstream);
	t.teardown(() => proxy.stop());
	const stalled = new Promise<void>((resolve) => {
		const fault: Fault = (request) => {
			if (!matches(request.method ?? '', request.url ?? '')) return false;
			request.resume();
			resolve();
			return true;
		};
		proxy.fault = fault;
	});
	return { proxy, stalled };
}

for (const [what, command] of [
	['a RUN step', 'echo started; sleep 1000'],
	['a RUN step that ignores signals', 'trap "" INT TERM HUP; echo started; while true; do sleep 1; done'],
	['a RUN step that writes all the time', 'echo started; while true; do dd if=/dev/zero of=/file bs=1M count=50 2>/dev/null; done'],
	['a RUN step with processes in the background', 'for i in 1 2 3; do (setsid sleep 1000 &); done; echo started; sleep 1000'],
] as const) {
	test.serial(`Ctrl-C in ${what}`, async (t) => {
		const { base, store } = t.context;
		const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo before > /before\nRUN ${command}\n` });
		const running = startObd(store, [context]);
		await running.seen(/^#\d+ [0-9.]+ started$/m);
		const output = await endsClean(t, store, running);
		t.is(stateOf(output, /RUN (?!echo before)/), 'CANCELED');
	});
}

test.serial('Ctrl-C in several steps at once; what was done before stays done', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base} AS a\nRUN echo early > /early\nRUN echo a-started; sleep 1000\nFROM ${base} AS b\nRUN echo b-started; sleep 1000\nFROM scratch\nCOPY --from=a / /a\nCOPY --from=b / /b\n` });
	const running = startObd(store, ['--progress', 'rawjson', context]); // plain progress shows one step at a time
	for (const name of ['a', 'b']) await running.seen(new RegExp(Buffer.from(`${name}-started\n`).toString('base64')));
	await endsClean(t, store, running);
	const { stderr } = await build(store, ['--target', 'early', await makeContext(store, { Dockerfile: `FROM ${base} AS early\nRUN echo early > /early\n` })]);
	t.is(stateOf(stderr, /RUN echo early/), 'CACHED');
});

test.serial('SIGTERM ends a build as Ctrl-C does, with its own exit code', async (t) => {
	const { base, store } = t.context;
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo started; sleep 1000\n` })]);
	await running.seen(/ started$/m);
	running.kill('SIGTERM');
	t.is((await running.ended).code, 143);
	await nothingLeft(t, store);
});

test.serial('Ctrl-C in a COPY of many files', async (t) => {
	const { base, store } = t.context;
	const files = Object.fromEntries(Array.from({ length: 6000 }, (_, i) => [`many/${i % 60}/${i}`, `${i}\n`.repeat(1000)]));
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY many /many\nRUN sleep 1000\n`, ...files });
	const running = startObd(store, [context]);
	await running.seen(/^#\d+ \[2\/3\] COPY many/m);
	await endsClean(t, store, running);
});

test.serial('Ctrl-C while the registry does not answer for a manifest', async (t) => {
	const { registry } = t.context;
	const store = await ownStore(t);
	const { proxy, stalled } = await stallingProxy(t, registry.host, (_, url) => url.includes('/manifests/'));
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/base\nRUN true\n` })]);
	await stalled;
	await endsClean(t, store, running);
});

test.serial('Ctrl-C in a conversion whose download has stopped in the middle', async (t) => {
	const { registry } = t.context;
	const store = await ownStore(t);
	await pushBase(registry.host, 'stopping', [await tarOf(busybox()), await tarOf([{ name: 'random', content: randomBytes(4 << 20) }])]);
	const layer = (await getManifest(registry.host, 'stopping')).manifest.layers[1]?.digest ?? '';
	const proxy = await startFaultProxy(registry.host);
	t.teardown(() => proxy.stop());
	const bytes = Buffer.from(await (await fetch(`http://${registry.host}/v2/stopping/blobs/${layer}`)).arrayBuffer());
	const stopped = new Promise<void>((resolve) => {
		proxy.fault = (request, response) => {
			if (request.method !== 'GET' || request.url?.endsWith(layer) !== true) return false;
			response.writeHead(200, { 'content-length': bytes.length });
			response.write(bytes.subarray(0, bytes.length / 2), () => { resolve(); });
			return true;
		};
	});
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/stopping\nRUN true\n` })]);
	await stopped;
	await endsClean(t, store, running);

	// The next build takes what the registry then gives.
	proxy.fault = () => false;
	await build(store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/stopping\nRUN test -f /random\n` })]);
	await nothingLeft(t, store);
});

test.serial('Ctrl-C while the kernel waits for a block of a lazy base that does not come', async (t) => {
	const { base, registry } = t.context;
	const maker = await ownStore(t);
	await build(maker, ['-t', `${registry.host}/lazy`, '--push', await makeContext(maker, { Dockerfile: `FROM ${base}\nCOPY big /big\n`, big: randomBytes(8 << 20) })]);
	const { manifest } = await getManifest(registry.host, 'lazy');

	// First nothing of the layers comes at all: the device is not even attached.
	for (const [name, allowed] of [['no trailer', 0], ['trailer and index only', 6]] as const) {
		const store = await ownStore(t);
		let count = 0;
		const { proxy, stalled } = await stallingProxy(t, registry.host, (method, url) => method === 'GET' && manifest.layers.some(({ digest }) => url.endsWith(digest)) && count++ >= allowed);
		const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${proxy.host}/lazy\nRUN cat /big > /dev/null; find / -xdev > /dev/null; sleep 1000\n` })]);
		await stalled;
		t.log(name);
		await endsClean(t, store, running);
	}
});

for (const [what, matches] of [
	['a layer', (method: string, url: string) => (method === 'PUT' || method === 'PATCH' || method === 'POST') && url.includes('/blobs/uploads/')],
	['the manifest', (method: string, url: string) => method === 'PUT' && url.includes('/manifests/')],
] as const) {
	test.serial(`Ctrl-C in a push, while the registry does not answer for ${what}`, async (t) => {
		const { base, registry, store } = t.context;
		const { proxy, stalled } = await stallingProxy(t, registry.host, matches);
		const running = startObd(store, ['-t', `${proxy.host}/pushed`, '--push', await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo ${what} > /pushed\n` })]);
		await stalled;
		await endsClean(t, store, running);
	});
}

test.serial('Ctrl-C before anything has begun', async (t) => {
	const { base } = t.context;
	const store = await ownStore(t);
	const running = startObd(store, [await makeContext(store, { Dockerfile: `FROM ${base}\nRUN sleep 1000\n` })]);
	await running.seen(/^#1 /m);
	await endsClean(t, store, running);
	t.is((await runObd(store, [await makeContext(store, { Dockerfile: 'FROM scratch\nCMD true\n' })])).code, 0);
});
