// A daemon that has nothing to do keeps little memory, and no process beside it.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { deviceServers, leftoversOf } from './helpers/build-leftovers.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed } from './helpers/daemon.js';
import { makeContext } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const limitMiB = 120;
/** Much longer than the daemon waits for the next build. */
const patienceMs = 30_000;

/** Waits for `condition`, and fails the test with `what` when it does not come. */
async function eventually(t: ExecutionContext, condition: () => Promise<boolean>, what: () => Promise<string>): Promise<void> {
	const end = Date.now() + patienceMs;
	while (!(await condition()) && Date.now() < end) await sleep(200);
	t.true(await condition(), await what());
}

test.serial('after builds the daemon gives its memory back, ends its device server, and starts another for the next build', async (t) => {
	const { base, store } = t.context;
	const daemon = await startDaemon(store);
	t.teardown(() => daemon.stop());
	const build = async (): Promise<string> => {
		const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY data /\nRUN true\n`, data: randomBytes(64 << 20) });
		await succeed(daemon.buildx(['build', '--progress', 'plain', context]));
		return context;
	};
	for (let round = 0; round < 3; round++) await build();
	const rss = async (): Promise<number> => (await Promise.all([daemon.program.pid, ...await deviceServers(store)].map(rssMiB))).reduce((sum, mebibytes) => sum + mebibytes, 0);
	await eventually(t, async () => await rss() < limitMiB, async () => `${(await rss()).toFixed(0)} MiB`);
	await eventually(t, async () => (await deviceServers(store)).length === 0, async () => (await leftoversOf(store)).join('\n'));
	t.log(`${(await rss()).toFixed(0)} MiB`);
	t.deepEqual((await leftoversOf(store)).filter((left) => left.startsWith('device')), []);

	const last = await build();
	await eventually(t, async () => (await deviceServers(store)).length === 0, async () => (await leftoversOf(store)).join('\n'));
	await succeed(daemon.buildx(['build', '--progress', 'plain', last]));
	t.is((await deviceServers(store)).length, 0, 'a build that is all in the cache needs none');
	t.is((await daemon.stop()).code, 0);
	await nothingLeft(t, store);
});

/** Resident memory of a process; of one that has ended, none. */
async function rssMiB(pid: number): Promise<number> {
	const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
	return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) / 1024;
}
