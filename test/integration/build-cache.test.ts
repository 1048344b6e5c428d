// Builds after builds: what has not changed is not done again.
import { chmod, cp, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import anyTest, { type TestFn } from 'ava';
import { busybox, getManifest, pushBase, tarOf } from './helpers/base-images.js';
import { damagedBlobs } from './helpers/build-leftovers.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { build, makeContext, stateOf, steps, writeFiles } from './helpers/obd.js';
import { readImageFiles } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** What became of the instructions, FROM included, in order. */
function states(stderr: string): string[] {
	return steps(stderr).filter(({ name }) => /^\[(\S+ )?\d+\/\d+\]/.test(name)).map(({ name, state }) => `${name.replace(/^\[.*?\] (\S+).*/, '$1')} ${state}`);
}

const project = (base: string): Record<string, string> => ({
	Dockerfile: `FROM ${base}\nWORKDIR /app\nCOPY first .\nRUN cat first > one\nCOPY second .\nRUN cat second > two\n`,
	first: 'first\n',
	second: 'second\n',
});

test.serial('the second run of a build only checks: no container, mount, device or other process', async (t) => {
	const { base, registry: { host }, store } = t.context;
	const context = await makeContext(store, project(base));
	const args = ['-t', `${host}/checked`, '--push', context];
	await build(store, args);
	const first = await getManifest(host, 'checked');

	const trace = path.join(store.directory, 'trace');
	const { stderr } = await build(store, args, { trace });
	t.deepEqual(states(stderr), ['FROM CACHED', 'WORKDIR CACHED', 'COPY CACHED', 'RUN CACHED', 'COPY CACHED', 'RUN CACHED']);
	const calls = (await readFile(trace, 'utf8')).trim().split('\n');
	t.is(calls.length, 1, calls.join('\n'));
	t.regex(calls[0] ?? '', /execve\(.*"--root"/);
	t.is((await getManifest(host, 'checked')).digest, first.digest, 'the very same image');

	// A copy of the project elsewhere is the same project; so is one whose files are newer.
	const copy = path.join(store.directory, 'copy');
	await cp(context, copy, { recursive: true });
	await utimes(path.join(copy, 'first'), 1, 1);
	const again = await build(store, [copy]);
	t.false(states(again.stderr).some((state) => state.endsWith('DONE')), again.stderr);
	await nothingLeft(t, store);
});

test.serial('a change runs what depends on it again, and nothing else', async (t) => {
	const { base, registry: { host }, store } = t.context;
	const context = await makeContext(store, project(base));
	const rebuild = async (): Promise<string[]> => states((await build(store, ['-t', `${host}/changed`, '--push', context])).stderr);
	await rebuild();

	await writeFile(path.join(context, 'second'), 'changed\n');
	t.deepEqual(await rebuild(), ['FROM CACHED', 'WORKDIR CACHED', 'COPY CACHED', 'RUN CACHED', 'COPY DONE', 'RUN DONE']);
	t.deepEqual(await readImageFiles(store, host, 'changed', ['app/one', 'app/two']), ['first\n', 'changed\n']);

	await chmod(path.join(context, 'second'), 0o755);
	t.deepEqual((await rebuild()).slice(3), ['RUN CACHED', 'COPY DONE', 'RUN DONE'], 'a mode is part of a file');

	await writeFile(path.join(context, 'unrelated'), 'x');
	t.false((await rebuild()).some((state) => state.endsWith('DONE')));

	await writeFile(path.join(context, 'second'), 'second\n');
	await chmod(path.join(context, 'second'), 0o644);
	t.false((await rebuild()).some((state) => state.endsWith('DONE')), 'back to what was built before');

	const dockerfile = await readFile(path.join(context, 'Dockerfile'), 'utf8');
	await writeFile(path.join(context, 'Dockerfile'), dockerfile.replace('cat first > one', 'cat first first > one'));
	t.deepEqual(await rebuild(), ['FROM CACHED', 'WORKDIR CACHED', 'COPY CACHED', 'RUN DONE', 'COPY DONE', 'RUN DONE']);
	t.deepEqual(await readImageFiles(store, host, 'changed', ['app/one', 'app/two']), ['first\nfirst\n', 'second\n']);
	await nothingLeft(t, store);
});

test.serial('what is copied from a stage counts by its content', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, {
		Dockerfile: `FROM ${base} AS make\nCOPY source /\nRUN head -1 /source > /out\nFROM ${base}\nCOPY --from=make /out /out\nRUN cat /out\n`,
		source: 'kept\nchanged\n',
	});
	await build(store, [context]);
	await writeFile(path.join(context, 'source'), 'kept\nchanged again\n');
	const { stderr } = await build(store, [context]);
	t.is(stateOf(stderr, /^\[make 3\/3\] RUN/), 'DONE');
	t.is(stateOf(stderr, /COPY --from=make/), 'CACHED');
	t.is(stateOf(stderr, /RUN cat \/out/), 'CACHED');
	await nothingLeft(t, store);
});

test.serial('build arguments and a moved tag are changes; --no-cache and --no-cache-filter ignore the cache', async (t) => {
	const { registry: { host }, store } = t.context;
	await pushBase(host, 'moving', [await tarOf(busybox())]);
	const context = await makeContext(store, { Dockerfile: `FROM ${host}/moving AS one\nRUN echo before\nARG V=1\nRUN echo $V > /v\nFROM one AS two\nRUN echo two\n` });
	const rebuild = async (...args: string[]): Promise<string[]> => states((await build(store, [...args, context])).stderr);
	await rebuild();
	t.deepEqual(await rebuild('--build-arg', 'V=1'), ['FROM CACHED', 'RUN CACHED', 'RUN CACHED', 'RUN CACHED']);
	t.deepEqual(await rebuild('--build-arg', 'V=2'), ['FROM CACHED', 'RUN CACHED', 'RUN DONE', 'RUN DONE']);
	t.deepEqual((await rebuild('--no-cache')).slice(1), ['RUN DONE', 'RUN DONE', 'RUN DONE']);
	t.deepEqual(await rebuild('--no-cache-filter', 'two'), ['FROM CACHED', 'RUN CACHED', 'RUN CACHED', 'RUN DONE']);
	t.deepEqual(await rebuild(), ['FROM CACHED', 'RUN CACHED', 'RUN CACHED', 'RUN CACHED']);

	await pushBase(host, 'moving', [await tarOf(busybox()), await tarOf([{ name: 'moved', content: 'x' }])]);
	t.deepEqual((await rebuild()).slice(1), ['RUN DONE', 'RUN DONE', 'RUN DONE']);
	await nothingLeft(t, store);
});

test.serial('a step that mounts one cache twice, alone, sees it twice', async (t) => {
	const { base, store } = t.context;
	const mounts = ['/a', '/b'].map((target) => `--mount=type=cache,id=twice,sharing=locked,target=${target}`).join(' ');
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN ${mounts} touch /a/file && test -f /b/file\n` });
	t.is(stateOf((await build(store, [context])).stderr, /RUN --mount=type=cache,id=twice/), 'DONE');
});

test.serial('cache mounts last from build to build', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nARG N\nRUN --mount=type=cache,target=/cache echo $N >> /cache/log && cat /cache/log\n` });
	await build(store, ['--build-arg', 'N=one', context]);
	const { stderr } = await build(store, ['--build-arg', 'N=two', context]);
	t.deepEqual(stderr.match(/(?<=^#\d+ [0-9.]+ )(one|two)$/gm), ['one', 'two']);
	await nothingLeft(t, store);
});

test.serial('builds at the same time on one store, of the same project and of others', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const same = await makeContext(store, project(base));
	const others = await Promise.all(['a', 'b'].map(async (name) => {
		const context = await makeContext(store, project(base));
		await writeFiles(context, { first: `first of ${name}\n` });
		return context;
	}));
	const contexts = [same, same, ...others];
	await Promise.all(contexts.map((context, i) => build(store, ['-t', `${host}/at-once:${i}`, '--push', context])));
	const contents = await Promise.all(contexts.map((_, i) => readImageFiles(store, host, `at-once:${i}`, ['app/one', 'app/two'])));
	t.deepEqual(contents, [['first\n', 'second\n'], ['first\n', 'second\n'], ['first of a\n', 'second\n'], ['first of b\n', 'second\n']]);
	t.deepEqual(await damagedBlobs(store), []);
	await nothingLeft(t, store);

	const afterwards = await Promise.all(contexts.map((context) => build(store, [context])));
	for (const { stderr } of afterwards) t.false(states(stderr).some((state) => state.endsWith('DONE')), stderr);
	await nothingLeft(t, store);
});

test.serial('a blob that is gone from the store is made again', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const context = await makeContext(store, project(base));
	await build(store, ['-t', `${host}/gone`, '--push', context]);
	const layers = (await getManifest(host, 'gone')).manifest.layers;
	const blob = (index: number): string => path.join(store.root, 'blobs', 'sha256', (layers[index]?.digest ?? '').slice('sha256:'.length));
	await rm(blob(4));
	const { stderr } = await build(store, ['-t', `${host}/gone:2`, '--push', context]);
	t.deepEqual(states(stderr), ['FROM CACHED', 'WORKDIR CACHED', 'COPY CACHED', 'RUN CACHED', 'COPY DONE', 'RUN DONE']);
	t.deepEqual(await readImageFiles(store, host, 'gone:2', ['app/one', 'app/two']), ['first\n', 'second\n']);
	await truncate(blob(2), 100);
	const second = await build(store, ['-t', `${host}/gone:3`, '--push', context]);
	t.deepEqual(states(second.stderr).slice(0, 4), ['FROM CACHED', 'WORKDIR CACHED', 'COPY DONE', 'RUN DONE']);
	t.deepEqual(await readImageFiles(store, host, 'gone:3', ['app/one', 'app/two']), ['first\n', 'second\n']);
	await nothingLeft(t, store);
});
