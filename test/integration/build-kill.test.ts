// kill -9 at any moment, of the builder, of its device server, of both: the next start finds nothing left
// but a whole store with every layer that was sealed.
import { randomInt } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { pushBase, tarOf, busybox } from './helpers/base-images.js';
import { blobDirectory, damagedBlobs, deviceServers, leftoversOf } from './helpers/build-leftovers.js';
import { ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, startObd, type TestStore } from './helpers/obd.js';
import { until } from './helpers/device.js';
import { downloadLayers, prefixProblems, readImageFiles } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Every kind of work, most of it new in each round: N is not the same twice. */
const dockerfile = (base: string): string => `FROM ${base} AS work
COPY files /files
RUN echo kept > /kept
ARG N
RUN echo $N > /n && dd if=/dev/urandom of=/data bs=64k count=64 2>/dev/null
RUN cp -a /etc /copied
RUN --network=none for i in 1 2 3 4 5 6 7 8 9; do echo $N > /file$i; done
FROM ${base}
COPY --from=work / /all
`;

/** Milliseconds a whole round takes here at the most; kills fall anywhere in it. */
const roundMs = 1500;

function killAll(pids: readonly number[]): void {
	for (const pid of pids) {
		try {
			process.kill(pid, 'SIGKILL');
		} catch {
			// it has ended
		}
	}
}

async function blobs(store: TestStore): Promise<string[]> {
	return readdir(blobDirectory(store)).catch(() => []);
}

/** One build that is killed after `delay` ms, and the start after it. */
async function round(t: ExecutionContext<BuildContext>, store: TestStore, context: string, victim: 'builder' | 'device server' | 'both', delay: number, number: number): Promise<void> {
	const { registry } = t.context;
	const message = `${victim} killed after ${delay} ms`;
	const running = startObd(store, ['--build-arg', `N=${number}`, '-t', `${registry.host}/killed`, '--push', context]);
	await new Promise((resolve) => setTimeout(resolve, delay));
	const sealed = await blobs(store);
	if (victim !== 'builder') killAll(await deviceServers(store));
	if (victim !== 'device server') running.kill('SIGKILL');
	const { code, stderr } = await running.ended;
	if (victim === 'device server' && code !== 0) {
		t.is(code, 1, message);
		t.regex(stderr, /\nERROR: failed to build: failed to solve: [^]*(?:device server|Input\/output error|I\/O error|EIO|lost)/, message);
		t.deepEqual(await leftoversOf(store), [], `${message}: the builder cleans up`);
	}

	// The next start: a build that needs nothing.
	await build(store, [await makeContext(store, { Dockerfile: 'FROM scratch\nCMD true\n' })]);
	// A device server whose builder was killed ends a moment later by itself.
	await until(async () => (await deviceServers(store)).length === 0);
	t.deepEqual(await leftoversOf(store), [], message);
	const present = new Set(await blobs(store));
	t.deepEqual(sealed.filter((name) => !present.has(name)), [], `${message}: sealed layers are lost`);
	t.deepEqual(await damagedBlobs(store), [], message);
}

test.serial('builds killed at random moments', async (t) => {
	t.timeout(240_000);
	const { registry: { host } } = t.context;
	await pushBase(host, 'two-layers', [await tarOf(busybox()), await tarOf([{ name: 'second', content: 'second\n' }])]);
	const files = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`files/${i}`, `${i}\n`]));
	let number = 0;
	for (let stores = 0; stores < 3; stores++) {
		const store = await ownStore(t); // each begins with a conversion
		const context = await makeContext(store, { Dockerfile: dockerfile(`${host}/two-layers`), ...files });
		for (let rounds = 0; rounds < 11; rounds++) {
			const victim = (['builder', 'device server', 'both'] as const)[number % 3] ?? 'both';
			await round(t, store, context, victim, randomInt(roundMs), number++);
		}
		// After all that the store is good for a build, and the build is right.
		await build(store, ['--build-arg', 'N=last', '-t', `${host}/survived`, '--push', context]);
		t.deepEqual(await readImageFiles(store, host, 'survived', ['all/n', 'all/kept', 'all/files/199', 'all/file9', 'second']), ['last\n', 'kept\n', '199\n', 'last\n', 'second\n']);
		t.deepEqual(await prefixProblems(store, await downloadLayers(store, host, 'survived')), []);
		t.deepEqual(await leftoversOf(store), []);
	}
	t.log(`${number} rounds`);
});
