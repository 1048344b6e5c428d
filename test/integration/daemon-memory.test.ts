// A daemon that has nothing to do keeps little memory.
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import anyTest, { type TestFn } from 'ava';
import { setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed } from './helpers/daemon.js';
import { makeContext } from './helpers/obd.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const limitMiB = 120;
/** Much longer than the daemon waits for the next build. */
const patienceMs = 30_000;

test.serial('after builds the daemon gives its memory back', async (t) => {
	const { base, store } = t.context;
	const daemon = await startDaemon(store);
	t.teardown(() => daemon.stop());
	for (let round = 0; round < 3; round++) {
		const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY data /\nRUN true\n`, data: randomBytes(64 << 20) });
		await succeed(daemon.buildx(['build', '--progress', 'plain', context]));
	}
	let rss = await rssMiB(daemon.program.pid);
	for (const end = Date.now() + patienceMs; rss >= limitMiB && Date.now() < end; rss = await rssMiB(daemon.program.pid)) await sleep(200);
	t.log(`${rss.toFixed(0)} MiB`);
	t.true(rss < limitMiB, `${rss.toFixed(0)} MiB`);
});

/** Resident memory of a process. */
async function rssMiB(pid: number): Promise<number> {
	const kibibytes = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8'))?.[1];
	return Number(kibibytes) / 1024;
}
