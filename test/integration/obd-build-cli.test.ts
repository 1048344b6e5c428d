// obd-build as a program: what it prints and writes, how it exits, what it leaves. Needs root, runc and
// busybox-static.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { makeBusyboxRootfs } from './busybox-rootfs.js';

const program = fileURLToPath(new URL('../../src/cli/obd-build.js', import.meta.url));

interface Context {
	dir: string;
	/** A build context that holds a busybox root in `rootfs`. */
	context: string;
	store: string;
}

const test = anyTest.serial as TestFn<Context>;

test.before(async (t) => {
	const dir = await mkdtemp(path.join(tmpdir(), 'obd-build-cli-'));
	const context = path.join(dir, 'context');
	await makeBusyboxRootfs(path.join(context, 'rootfs'));
	t.context = { dir, context, store: path.join(dir, 'store') };
});

test.afterEach.always(async (t) => {
	const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n').filter((line) => line.includes(t.context.dir));
	t.deepEqual(mounts, []);
	t.deepEqual((await processes()).filter((command) => command.includes(t.context.dir)), []);
	const instances = await readdir(path.join(t.context.store, 'instances')).catch(() => []);
	t.deepEqual(instances, []);
});

test.after.always((t) => rm(t.context.dir, { recursive: true, force: true }));

interface Run {
	readonly child: ChildProcess;
	readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>;
}

function start(context: Context, args: readonly string[], stdin = ''): Run {
	const child = spawn(process.execPath, [program, '--root', context.store, ...args], { stdio: 'pipe', env: { ...process.env, BUILDKIT_PROGRESS: '' } });
	child.stdin.end(stdin);
	let [stdout, stderr] = ['', ''];
	child.stdout.on('data', (data: Buffer) => { stdout += data.toString(); });
	child.stderr.on('data', (data: Buffer) => { stderr += data.toString(); });
	return { child, ended: new Promise((resolve) => child.once('close', (code) => { resolve({ code, stdout, stderr }); })) };
}

const run = (context: Context, args: readonly string[], stdin = ''): Run['ended'] => start(context, args, stdin).ended;

async function processes(): Promise<readonly string[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid);
	return Promise.all(pids.map((pid) => readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')));
}

const dockerfile = 'FROM scratch\nCOPY rootfs /\nRUN echo built > /x\nCMD ["cat", "/x"]\n';

test('usage', async (t) => {
	const help = await run(t.context, ['--help']);
	t.is(help.code, 0);
	t.regex(help.stdout, /^Usage: {2}obd-build \[OPTIONS\] PATH \| URL \| -\n/);
	const unknown = await run(t.context, ['--nonsense']);
	t.is(unknown.code, 125);
	t.is(unknown.stderr, 'unknown flag: --nonsense\n\nUsage:  obd-build [OPTIONS] PATH | URL | -\n\nRun \'obd-build --help\' for more information\n');
	const none = await run(t.context, []);
	t.is(none.code, 1);
	t.regex(none.stderr, /^ERROR: 'obd-build' requires 1 argument\n/);
	const wrong = await run(t.context, ['--progress', 'fancy', t.context.context]);
	t.is(wrong.code, 1);
	t.is(wrong.stderr, 'ERROR: invalid progress mode fancy\n');
});

test('plain progress, then everything cached', async (t) => {
	const first = await run(t.context, ['-f', '-', t.context.context], dockerfile);
	t.is(first.code, 0, first.stderr);
	t.is(first.stdout, '');
	t.regex(first.stderr, /^#1 \[internal\] load build definition from Dockerfile\n/);
	t.regex(first.stderr, /^#\d+ \[2\/2\] RUN echo built > \/x\n(#.*\n)*#\d+ DONE \d+\.\ds$/m);
	const second = await run(t.context, ['-f', '-', t.context.context], dockerfile);
	t.is(second.code, 0);
	t.is(second.stderr.match(/ CACHED$/gm)?.length, 2);
});

test('image id, metadata and quiet', async (t) => {
	const iidfile = path.join(t.context.dir, 'iid');
	const metadataFile = path.join(t.context.dir, 'metadata.json');
	await writeFile(iidfile, 'stale');
	const { code, stdout, stderr } = await run(t.context, ['-q', '--iidfile', iidfile, '--metadata-file', metadataFile, '-t', 'example.com/app:1', '-f', '-', t.context.context], dockerfile);
	t.is(code, 0, stderr);
	t.is(stderr, '');
	t.regex(stdout, /^sha256:[0-9a-f]{64}\n$/);
	t.is(await readFile(iidfile, 'utf8'), stdout.trim());
	const metadata = JSON.parse(await readFile(metadataFile, 'utf8')) as Record<string, unknown>;
	t.is(metadata['containerimage.config.digest'], stdout.trim());
	t.is(metadata['image.name'], 'example.com/app:1');
	t.like(metadata['containerimage.descriptor'], { digest: metadata['containerimage.digest'] });
});

test('rawjson', async (t) => {
	const { code, stderr } = await run(t.context, ['--progress=rawjson', '-f', '-', t.context.context], dockerfile);
	t.is(code, 0);
	const events = stderr.trim().split('\n').map((line) => JSON.parse(line) as { readonly vertexes?: readonly { readonly name: string; readonly cached?: boolean }[] });
	t.true(events.some((event) => event.vertexes?.some((vertex) => vertex.name.startsWith('[2/2] RUN') && vertex.cached)));
});

test('a failing step', async (t) => {
	const iidfile = path.join(t.context.dir, 'iid');
	await writeFile(iidfile, 'stale');
	const { code, stderr } = await run(t.context, ['--iidfile', iidfile, '-f', '-', t.context.context], 'FROM scratch\nCOPY rootfs /\nRUN echo last words; exit 7\n');
	t.is(code, 1);
	t.regex(stderr, /\n------\n > \[2\/2\] RUN echo last words; exit 7:\n\d\.\d+ last words\n------\n/);
	t.regex(stderr, /\nERROR: failed to build: failed to solve: process "\/bin\/sh -c echo last words; exit 7" did not complete successfully: exit code: 7\n$/);
	await t.throwsAsync(readFile(iidfile), { code: 'ENOENT' });
});

test('a Dockerfile that cannot be parsed shows the place', async (t) => {
	const { code, stderr } = await run(t.context, ['-f', '-', t.context.context], 'FROM scratch\nCPOY a b\n');
	t.is(code, 1);
	t.regex(stderr, /\nDockerfile:2\n-{20}\n {3}1 \| {5}FROM scratch\n {3}2 \| >>> CPOY a b\n[^]*-{20}\nERROR: failed to build: failed to solve: dockerfile parse error on line 2: unknown instruction: CPOY/);
});

for (const [signal, code] of [['SIGINT', 130], ['SIGTERM', 143]] as const) {
	test(`${signal} cancels the build and leaves nothing`, async (t) => {
		const marker = `85${process.pid}`;
		const { child, ended } = start(t.context, ['-f', '-', t.context.context], `FROM scratch\nCOPY rootfs /\nRUN trap "" INT TERM; echo running; sleep ${marker}\n`);
		await new Promise<void>((resolve, reject) => {
			void ended.then((early) => { reject(new Error(`ended too early: ${early.stderr}`)); });
			let seen = '';
			child.stderr?.on('data', (data: Buffer) => {
				seen += data.toString();
				if (/^#\d+ \S+ running$/m.test(seen)) resolve();
			});
		});
		child.kill(signal);
		const result = await ended;
		t.is(result.code, code);
		t.regex(result.stderr, /ERROR: failed to build: failed to solve: Canceled: context canceled\n$/);
		t.deepEqual((await processes()).filter((command) => command.includes(marker)), []);
	});
}

test('a file system to stdout', async (t) => {
	const { code, stdout } = await run(t.context, ['-o', '-', '-f', '-', t.context.context], 'FROM scratch\nCOPY rootfs/etc/passwd /only\n');
	t.is(code, 0);
	t.is(stdout.slice(0, 4), 'only');
	t.is(stdout.slice(257, 262), 'ustar');
});
