// COPY of a context that ran before: only what has changed is read and written, and the image is the one that a build
// without the cache makes.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFile, chmod, copyFile, link, lstat, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { getConfig, getManifest } from './helpers/base-images.js';
import { blobDirectory, damagedBlobs } from './helpers/build-leftovers.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed } from './helpers/daemon.js';
import { fsckProblems } from './helpers/device.js';
import { build, makeContext, runObd, startObd, stateOf, writeFiles, type TestStore } from './helpers/obd.js';
import { downloadLayers, flattened, readImageFiles, withRootfs } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);
const run = promisify(execFile);

/** A digest is remembered when the file is older than this by the clock of its file system (native/files/stat_cache.cc). */
const racyMs = 2100;

/** A directory whose files tell when they were read: a tmpfs that notes every access. */
async function watched(t: ExecutionContext, name: string): Promise<string> {
	const directory = await mkdtemp(path.join(tmpdir(), `obd-watched-${name}-`));
	await run('mount', ['-t', 'tmpfs', '-o', 'strictatime', 'tmpfs', directory]);
	t.teardown(async () => {
		await run('umount', ['-l', directory]);
		await rm(directory, { recursive: true });
	});
	return directory;
}

/** Every file below a directory, by path. */
async function filesIn(root: string): Promise<string[]> {
	const entries = await readdir(root, { withFileTypes: true, recursive: true });
	return entries.filter((entry) => !entry.isDirectory()).map((entry) => path.relative(root, path.join(entry.parentPath, entry.name))).sort();
}

async function accessTimes(root: string): Promise<Map<string, bigint>> {
	return new Map(await Promise.all((await filesIn(root)).map(async (file) => [file, (await lstat(path.join(root, file), { bigint: true })).atimeNs] as const)));
}

/** The files that were read since. */
async function readSince(root: string, before: ReadonlyMap<string, bigint>): Promise<string[]> {
	return [...await accessTimes(root)].filter(([file, time]) => before.get(file) !== time).map(([file]) => file);
}

function manyFiles(count: number): Record<string, string> {
	return Object.fromEntries(Array.from({ length: count }, (_, i) => [`data/d${i % 7}/f${i}`, `file ${i}\n`.repeat(200)]));
}

test.serial('of the context only the file that has changed is read', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const context = await watched(t, 'context');
	await writeFiles(context, { Dockerfile: `FROM ${base}\nCOPY data /data\nRUN cat /data/d1/f1 > /seen\n`, '.dockerignore': '*.log\n', ...manyFiles(300) });
	await sleep(racyMs);
	await build(store, ['-t', `${host}/again:1`, '--push', context]);

	await appendFile(path.join(context, 'data/d1/f1'), 'changed\n');
	await writeFile(path.join(context, 'data/d2/new'), 'new\n');
	await rm(path.join(context, 'data/d3/f3'));
	const before = await accessTimes(path.join(context, 'data'));
	const { stderr } = await build(store, ['-t', `${host}/again:2`, '--push', context]);
	t.is(stateOf(stderr, /COPY data/), 'DONE');
	t.deepEqual(await readSince(path.join(context, 'data'), before), ['d1/f1', 'd2/new']);

	// The image is as ever: as many layers, the same history, a clean file system.
	const [first, second] = await Promise.all(['again:1', 'again:2'].map((name) => getManifest(host, name)));
	t.is(second?.manifest.layers.length, first?.manifest.layers.length);
	const [former, now] = await Promise.all(['again:1', 'again:2'].map(async (name) => (await getConfig(host, name)).history));
	t.deepEqual(now?.map(({ created_by, empty_layer }) => [created_by, empty_layer]), former?.map(({ created_by, empty_layer }) => [created_by, empty_layer]));
	await withRootfs(store, host, 'again:2', async (root) => {
		t.is(await readFile(path.join(root, 'seen'), 'utf8'), await readFile(path.join(context, 'data/d1/f1'), 'utf8'));
		t.deepEqual(await filesIn(path.join(root, 'data')), await filesIn(path.join(context, 'data')));
	});
	t.deepEqual(await fsckProblems(await flattened(store, await downloadLayers(store, host, 'again:2'))), []);
	t.deepEqual(await damagedBlobs(store), []);
	await nothingLeft(t, store);
});

test.serial('through the daemon as well', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const root = await watched(t, 'store');
	const daemon = await startDaemon({ ...store, root });
	t.teardown(() => daemon.stop());
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, ...manyFiles(50) });
	const push = (tag: string): Promise<unknown> => succeed(daemon.buildx(['build', '--provenance=false', '--output', `type=image,name=${host}/daemon-again:${tag},push=true,registry.insecure=true`, context]));
	await push('1');
	await sleep(racyMs);
	await push('1');
	for (const round of ['2', '3']) {
		await writeFile(path.join(context, 'data/d4/f4'), `changed ${round}\n`);
		const before = await accessTimes(path.join(root, 'transfers'));
		await push(round);
		const read = await readSince(path.join(root, 'transfers'), before);
		t.deepEqual(read.filter((file) => file.includes('/data/')).map((file) => path.basename(file)), ['f4'], round);
		t.deepEqual(await readImageFiles(store, host, `daemon-again:${round}`, ['data/d4/f4', 'data/d5/f5']), [`changed ${round}\n`, 'file 5\n'.repeat(200)]);
		await sleep(racyMs);
	}
	await succeed(daemon.buildx(['prune', '--all', '--force']));
	t.deepEqual(await readdir(path.join(root, 'blobs/sha256')), [], 'the notes go with the layers');
	await push('3');
	t.deepEqual(await readImageFiles(store, host, 'daemon-again:3', ['data/d4/f4', 'data/d5/f5']), ['changed 3\n', 'file 5\n'.repeat(200)]);
});

/** What a user sees of an image. Times of directories only where they come from the context. */
async function picture(store: TestStore, host: string, name: string): Promise<Record<string, string>> {
	return withRootfs(store, host, name, async (root) => {
		const seen: Record<string, string> = {};
		const links = new Map<bigint, string>();
		for (const entry of await readdir(root, { withFileTypes: true, recursive: true })) {
			const full = path.join(entry.parentPath, entry.name);
			const file = path.relative(root, full);
			const stats = await lstat(full, { bigint: true });
			const dated = !stats.isDirectory() || /^(whole|part)\//.test(file);
			const content = stats.isFile() ? createHash('sha256').update(await readFile(full)).digest('hex') : stats.isSymbolicLink() ? await readlink(full) : '';
			seen[file] = [stats.mode.toString(8), stats.uid, stats.gid, stats.nlink, dated ? stats.mtimeNs : '', content].join(' ');
			if (stats.isFile() && stats.nlink > 1n) links.set(stats.ino, `${links.get(stats.ino) ?? ''} ${file}`);
		}
		return { ...seen, links: [...links.values()].map((names) => names.trim().split(' ').sort().join(' ')).sort().join('\n') };
	});
}

/** Numbers from 0 to below `limit`, the same for the same seed. */
function randomNumbers(seed: number): (limit: number) => number {
	let state = seed;
	return (limit) => {
		state = (state * 1103515245 + 12345) % 2 ** 31;
		return Math.floor((state / 2 ** 31) * limit);
	};
}

/** Something that happens to a project. */
async function mutate(context: string, random: (limit: number) => number): Promise<void> {
	const source = path.join(context, 'src');
	const files = await filesIn(source);
	const pick = (): string => path.join(source, files[random(files.length)] ?? 'a/1');
	const fresh = path.join(path.dirname(pick()), `n${random(1000)}`);
	const file = pick();
	const isPlain = (await lstat(file).catch(() => undefined))?.isFile() === true;
	const ignoring = (work: Promise<unknown>): Promise<unknown> => work.catch(() => undefined);
	switch (random(10)) {
		case 0: case 1: if (isPlain) await appendFile(file, `more ${random(1000)}\n`); break;
		case 2: await ignoring(writeFile(fresh, 'x'.repeat(random(20_000)), { flag: 'wx' })); break;
		case 3: await rm(file, { force: true }); break;
		case 4: if (isPlain) await chmod(file, 0o600 + random(64)); break;
		case 5: await ignoring(rename(file, fresh)); break;
		case 6: await ignoring(symlink('a/1', fresh)); break;
		case 7: if (isPlain) await ignoring(link(file, fresh)); break;
		case 8: await mkdir(`${fresh}.d/deep`, { recursive: true }); await ignoring(copyFile(file, `${fresh}.d/deep/file`)); break;
		case 9: await ignoring(utimes(path.dirname(file), 1000 + random(1000), 5000 + random(1000))); break;
	}
}

test.serial('whatever happens to a project, its image is that of a build without cache', async (t) => {
	const { base, registry: { host } } = t.context;
	const seed = Date.now() % 100_000;
	t.log(`seed ${seed}`);
	const random = randomNumbers(seed);
	const store = await ownStore(t);
	const context = await makeContext(store, {
		// Each in a stage of its own: a COPY goes on from its former result as long as nothing below it has changed.
		Dockerfile: `FROM ${base} AS whole
WORKDIR /app
COPY src .
RUN echo run > /app/made && touch -d "2020-01-01 00:00:00" /app/made
FROM ${base} AS owned
COPY etc/passwd /etc/
COPY etc /some/a
COPY --chown=daemon:7 --chmod=u=rwX,go=rX src/a src/b /some/
FROM ${base} AS part
COPY --exclude=a/* --exclude=*.d src /some/
FROM ${base} AS parents
COPY --parents src/a/*1* src/b /some/
FROM ${base} AS files
COPY src/a/1 src/c/1* /some/files/
FROM ${base}
COPY --from=whole /app /whole/
COPY --from=owned /some /owned/
COPY --from=owned /etc /etc/
COPY --from=part /some /part/
COPY --from=parents /some /parents/
COPY --from=files /some /files/
`,
		'.dockerignore': 'src/ignored\n**/n*9\n',
		'etc/passwd': 'root:x:0:0::/:\ndaemon:x:99:99::/:\n',
		...Object.fromEntries(['a', 'b', 'c', 'ignored'].flatMap((directory) => [1, 2, 11].map((i) => [`src/${directory}/${i}`, `${directory} ${i}\n`.repeat(i * 100)]))),
	});
	for (let round = 0; round < 5; round++) {
		await sleep(round === 0 ? racyMs : 0);
		await build(store, ['-t', `${host}/random:again`, '--push', context]);
		await build(store, ['--no-cache', '-t', `${host}/random:anew`, '--push', context]);
		const [again, anew] = [await picture(store, host, 'random:again'), await picture(store, host, 'random:anew')];
		const differences = Object.keys({ ...again, ...anew }).filter((file) => again[file] !== anew[file]);
		t.deepEqual(differences.map((file) => [file, again[file], anew[file]]), [], `seed ${seed}, round ${round}`);
		t.deepEqual(await fsckProblems(await flattened(store, await downloadLayers(store, host, 'random:again'))), []);
		for (let i = random(4); i >= 0; i--) await mutate(context, random);
		// No copy comes from the cache: times do not count there, and would be those of a former build.
		await writeFiles(context, Object.fromEntries(['a', 'b', 'c'].map((directory) => [`src/${directory}/1`, `round ${round}\n`])));
	}
	t.deepEqual(await damagedBlobs(store), []);
	await nothingLeft(t, store);
});

test.serial('a former layer that is damaged, or notes that are, cost a whole copy or a clear error, never a wrong image', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, ...manyFiles(40) });
	await sleep(racyMs);
	const rebuild = async (content: string): Promise<void> => {
		await writeFile(path.join(context, 'data/d1/f1'), content);
		await build(store, ['-t', `${host}/lost`, '--push', context]);
		t.deepEqual(await readImageFiles(store, host, 'lost', ['data/d1/f1', 'data/d2/f2']), [content, 'file 2\n'.repeat(200)]);
	};
	await rebuild('one\n');
	const layer = (await getManifest(host, 'lost')).manifest.layers.at(-1)?.digest ?? '';
	await rm(path.join(blobDirectory(store), layer.slice('sha256:'.length)));
	await rebuild('two\n');
	for (const name of await readdir(blobDirectory(store))) {
		const file = path.join(blobDirectory(store), name);
		const bytes = await readFile(file);
		if (!bytes.subarray(0, 14).equals(Buffer.from('obd copy notes'))) continue;
		bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
		await writeFile(file, bytes);
	}
	await rebuild('three\n');

	const last = (await getManifest(host, 'lost')).manifest.layers.at(-1)?.digest ?? '';
	const blob = path.join(blobDirectory(store), last.slice('sha256:'.length));
	const bytes = await readFile(blob);
	await writeFile(blob, bytes.fill(0x55, bytes.length / 2, bytes.length / 2 + 100));
	await writeFile(path.join(context, 'data/d1/f1'), 'four\n');
	const { code, stderr } = await runObd(store, ['-t', `${host}/lost`, '--push', context]);
	if (code !== 0) t.regex(stderr, /does not match its checksum/);
	await rebuild('five\n');
	await nothingLeft(t, store);
});

test.serial('killed at any moment it leaves nothing, and the former layer as it was', async (t) => {
	const { base, registry: { host } } = t.context;
	const store = await ownStore(t);
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, ...manyFiles(200) });
	await sleep(racyMs);
	await build(store, ['-t', `${host}/victim`, '--push', context]);
	for (const delay of [150, 300, 450, 600, 900]) {
		await writeFile(path.join(context, 'data/d1/f1'), `killed after ${delay}\n`);
		const running = startObd(store, ['-t', `${host}/victim`, '--push', context]);
		await sleep(delay);
		running.kill('SIGKILL');
		await running.ended;
		t.deepEqual(await damagedBlobs(store), [], `${delay} ms`);
	}
	await build(store, ['-t', `${host}/victim`, '--push', context]);
	t.deepEqual(await readImageFiles(store, host, 'victim', ['data/d1/f1', 'data/d6/f6']), ['killed after 900\n', 'file 6\n'.repeat(200)]);
	await nothingLeft(t, store);
});
