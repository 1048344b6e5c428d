// The Dockerfile language, to the letter: builds every case of testdata/conformance with obd-build and compares with
// what BuildKit itself made of it: the root file system and the image config; or the error and the lines it points at.
// Needs root, runc, busybox-static, git, ssh-agent.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { leftoversOf } from '../integration/helpers/build-leftovers.js';
import { makeStore, type TestStore } from '../integration/helpers/obd.js';
import { caseNames, readArgs } from './case.js';
import { compareOutcomes, readExpected } from './expected.js';
import { runCase } from './outcome.js';
import { startSurroundings, type Surroundings } from './surroundings.js';

interface Context {
	readonly surroundings: Surroundings;
	readonly store: TestStore;
}

const test = anyTest as TestFn<Context>;
const program = fileURLToPath(new URL('../../src/cli/obd-build.js', import.meta.url));
const parallel = 2;

const chosen = new RegExp(process.env['OBD_CASES'] ?? '');
/** Overlayfs breaks hard links where a file is changed; a block device rightly does not. */
const names = caseNames().filter((name) => chosen.test(name) && !readArgs(name).tags.includes('overlayfs-artifact'));
let passed = 0;

test.before(async (t) => {
	Object.assign(t.context, { surroundings: await startSurroundings(), store: await makeStore() });
});

test.after.always('nothing is left', async (t) => {
	const { surroundings, store } = t.context;
	t.deepEqual(await leftoversOf(store), []);
	await store.dispose();
	await surroundings.stop();
	console.log(`conformance: ${passed} passed, ${names.length - passed} failed`);
});

const waiting: (() => void)[] = [];
let free = parallel;

/** Runs `body` when fewer than `parallel` others run. */
async function inTurn<T>(body: () => Promise<T>): Promise<T> {
	if (free > 0) free--;
	else await new Promise<void>((resolve) => { waiting.push(resolve); });
	try {
		return await body();
	} finally {
		const next = waiting.shift();
		if (next) next();
		else free++;
	}
}

for (const name of names) {
	test(name, async (t) => {
		const { surroundings, store } = t.context;
		await inTurn(async () => {
			const command = [process.execPath, program, '--root', store.root, '--progress', 'plain'] as const;
			const env = { ...surroundings.gitEnv, HOME: path.join(store.directory, 'home'), TMPDIR: store.tmp };
			const outcome = await runCase(name, { command: [...command], env, clean: (text) => text.replaceAll('obd-build', 'docker buildx build') }, surroundings);
			const differences = compareOutcomes(readExpected(name, surroundings.base), outcome);
			for (const difference of differences) t.log(difference);
			t.deepEqual(differences, []);
			passed++;
		});
	});
}
