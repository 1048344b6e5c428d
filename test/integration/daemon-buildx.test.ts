// Docker's own client, buildx with the remote driver, on obd-buildd.
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmod, lstat, mkdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import anyTest, { type TestFn } from 'ava';
import { getConfig, getManifest } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDaemon, succeed, type ClientOptions, type TestDaemon } from './helpers/daemon.js';
import { build as obdBuild, makeContext, runObdBuildd, stateOf, writeFiles, type ProgramResult } from './helpers/obd.js';
import { readImageFiles, readTar } from './helpers/rootfs.js';

const test = anyTest as TestFn<BuildContext & { daemon: TestDaemon }>;
setUpBuilds(test as unknown as TestFn<BuildContext>);

test.serial.before(async (t) => {
	t.context.daemon = await startDaemon(t.context.store);
});

test.after.always((t) => t.context.daemon?.stop());

/** A build that is to succeed. */
function build({ daemon }: { readonly daemon: TestDaemon }, args: readonly string[], options?: ClientOptions): Promise<ProgramResult> {
	return succeed(daemon.buildx(['build', '--progress', 'plain', ...args], options));
}

test.serial('inspect names the worker', async (t) => {
	const { stdout } = await succeed(t.context.daemon.buildx(['inspect', 'obd']));
	t.regex(stdout, /^Status: +running$/m);
	t.regex(stdout, /^Platforms: +linux\//m);
});

test.serial('an image is built and pushed, and the second time everything is cached', async (t) => {
	const { base, registry, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nARG WHO\nCOPY file /\nRUN echo "$WHO" >/who\nENV A=b\n`, file: 'content' });
	const args = ['--push', '--provenance=false', '-t', `${registry.host}/pushed`, '--build-arg', 'WHO=me', '--metadata-file', path.join(store.directory, 'meta.json'), context];
	await build(t.context, args);
	t.deepEqual(await readImageFiles(store, registry.host, 'pushed', ['file', 'who']), ['content', 'me\n']);
	t.true((await getConfig(registry.host, 'pushed')).config?.Env?.includes('A=b'));
	const { digest } = await getManifest(registry.host, 'pushed');
	const { stderr } = await build(t.context, args);
	t.is(stateOf(stderr, /COPY file/), 'CACHED');
	const metadata = JSON.parse(await readFile(path.join(store.directory, 'meta.json'), 'utf8')) as Record<string, unknown>;
	t.is(metadata['containerimage.digest'], digest);
	t.is(metadata['image.name'], `${registry.host}/pushed`);
});

test.serial('the response says what this build fetched of the layers of its lazy base, and not what earlier ones did', async (t) => {
	const { base, registry, store } = t.context;
	const image = `${registry.host}/lazy-base`;
	await build(t.context, ['--push', '--provenance=false', '-t', image, await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY a b /\n`, a: randomBytes(1_000_000), b: randomBytes(8_000_000) })]);
	const { manifest } = await getManifest(registry.host, 'lazy-base');
	const digest = manifest.layers.at(-1)?.digest ?? '';
	// A daemon that has none of it.
	const fresh = await ownStore(t);
	const daemon = await startDaemon(fresh, ['--fetch-timeout', '30s', '--block-cache-size', '1g']);
	t.teardown(() => daemon.stop());
	const fetchedBy = async (...lines: readonly string[]): Promise<Readonly<Record<string, { readonly fetched: number; readonly size: number }>> | undefined> => {
		const file = path.join(fresh.directory, 'meta.json');
		await build({ daemon }, ['--provenance=false', '--metadata-file', file, await makeContext(fresh, { Dockerfile: lines.join('\n') })]);
		return (JSON.parse(await readFile(file, 'utf8')) as { 'obd.fetched'?: Record<string, { fetched: number; size: number }> })['obd.fetched'];
	};
	const first = (await fetchedBy(`FROM ${image}`, 'RUN cat /a > /dev/null'))?.[digest];
	t.is(first?.size, manifest.layers.at(-1)?.size);
	t.true((first?.fetched ?? 0) >= 1_000_000 && (first?.fetched ?? 0) < 5_000_000, `${first?.fetched}`);
	const second = (await fetchedBy(`FROM ${image}`, 'RUN cat /b > /dev/null'))?.[digest];
	// What was read ahead the first time is there.
	t.true((second?.fetched ?? 0) > 0 && (second?.fetched ?? 0) < 8_200_000, `${second?.fetched}`);
	t.true((first?.fetched ?? 0) + (second?.fetched ?? 0) >= 9_000_000, `${first?.fetched} and ${second?.fetched}`);
	t.is((await fetchedBy(`FROM ${image}`, 'RUN cat /b > /dev/null'))?.[digest]?.fetched, 0);
	t.is(await fetchedBy('FROM scratch', 'COPY Dockerfile /'), undefined);
});

test.serial('the daemon refuses lazy flags that make no sense', async (t) => {
	const { store } = t.context;
	for (const [flag, message] of [['--fetch-timeout=soon', /time: invalid duration "soon"/], ['--block-cache-size=large', /invalid size: 'large'/]] as const) {
		const { code, stderr } = await runObdBuildd(store, [flag]);
		t.is(code, 2);
		t.regex(stderr, message);
	}
});

test.serial('--verify of the daemon reads lazy bases whole before a step', async (t) => {
	const { base, registry, store } = t.context;
	const image = `${registry.host}/verified-base`;
	await build(t.context, ['--push', '--provenance=false', '-t', image, await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY a /\n`, a: randomBytes(1_000_000) })]);
	const fresh = await ownStore(t);
	const daemon = await startDaemon(fresh, ['--verify']);
	t.teardown(() => daemon.stop());
	const file = path.join(fresh.directory, 'meta.json');
	await build({ daemon }, ['--provenance=false', '--metadata-file', file, await makeContext(fresh, { Dockerfile: `FROM ${image}\nRUN true\n` })]);
	const fetched = (JSON.parse(await readFile(file, 'utf8')) as { 'obd.fetched': Record<string, { fetched: number; size: number }> })['obd.fetched'];
	t.true(Object.values(fetched).length > 0 && Object.values(fetched).every(({ fetched, size }) => fetched >= size), JSON.stringify(fetched));
});

test.serial('a context arrives as it is, and as it has become', async (t) => {
	const { base, store } = t.context;
	const big = Buffer.alloc(5_000_000, 'x');
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nCOPY --chmod=0 . /never\nFROM scratch\nCOPY . /\n`, big, 'dir/sub/a b': 'a', 'dir/é': 'e', '.dockerignore': 'ignored\n', ignored: 'i', '.wh.odd': 'w', gone: 'g' });
	await symlink('dir/é', path.join(context, 'link'));
	await chmod(path.join(context, 'dir/sub/a b'), 0o4751);
	await utimes(path.join(context, 'dir/é'), 1_600_000_000, 1_600_000_000);
	const out = path.join(store.directory, 'context-out');
	const { stderr: progress } = await build(t.context, ['--progress', 'plain', '--output', `type=local,dest=${out}`, context]);
	t.regex(progress, /transferring context: 5\.\d*MB/);
	t.true(big.equals(await readFile(path.join(out, 'big'))));
	t.is(await readFile(path.join(out, 'dir/sub/a b'), 'utf8'), 'a');
	t.is((await lstat(path.join(out, 'dir/sub/a b'))).mode & 0o7777, 0o4751);
	t.is((await lstat(path.join(out, 'dir/é'))).mtimeMs, 1_600_000_000_000);
	t.true((await lstat(path.join(out, 'link'))).isSymbolicLink());
	t.is(await readFile(path.join(out, '.wh.odd'), 'utf8'), 'w');
	await t.throwsAsync(lstat(path.join(out, 'ignored')), { code: 'ENOENT' });

	// A file in place of a directory, a directory in place of a file, one less, one changed.
	await rm(path.join(context, 'dir/sub'), { recursive: true });
	await rm(path.join(context, 'big'));
	await rm(path.join(context, 'gone'));
	await writeFiles(context, { 'dir/sub': 'now a file', 'big/inside': 'x' });
	await rm(out, { recursive: true });
	await build(t.context, ['--output', `type=local,dest=${out}`, context]);
	t.is(await readFile(path.join(out, 'dir/sub'), 'utf8'), 'now a file');
	t.is(await readFile(path.join(out, 'big/inside'), 'utf8'), 'x');
	await t.throwsAsync(lstat(path.join(out, 'gone')), { code: 'ENOENT' });
});

test.serial('results go to the client as tar, OCI layout and docker archive', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo made >/made\n` });
	const file = path.join(store.directory, 'result.tar');
	const names = async (type: string, more = ''): Promise<readonly string[]> => {
		await build(t.context, ['--output', `type=${type},dest=${file}${more}`, context]);
		return (await readTar(await readFile(file))).map(({ name }) => name);
	};
	t.true((await names('tar')).some((name) => name.replace(/^\.?\//, '') === 'made'));
	t.true((await names('oci')).includes('index.json'));
	t.true((await names('docker', ',name=some/name')).includes('manifest.json'));
	const inspected = execFileSync('skopeo', ['inspect', `docker-archive:${file}`], { encoding: 'utf8' });
	t.is((JSON.parse(inspected) as { Layers: unknown[] }).Layers.length, 2);
});

test.serial('secrets, agents, named contexts and a Dockerfile on standard input', async (t) => {
	const { base, store } = t.context;
	const agent = path.join(store.directory, 'agent.sock');
	const running = spawn('ssh-agent', ['-D', '-a', agent], { stdio: 'ignore' });
	t.teardown(() => { running.kill(); });
	while (!(await lstat(agent).catch(() => undefined))) await new Promise((resolve) => { setTimeout(resolve, 10); });
	await writeFile(path.join(store.directory, 'secret'), 'hush');
	const other = await makeContext(store, { other: 'from the other context' });
	const context = await makeContext(store, { unused: '' });
	const dockerfile = `FROM ${base} AS b
COPY --from=lent other /
RUN --mount=type=secret,id=s --mount=type=ssh,required=true cat /run/secrets/s >/seen && test -S "$SSH_AUTH_SOCK" && echo agent >>/seen
FROM scratch
COPY --from=b /seen /other /
`;
	const out = path.join(store.directory, 'lent-out');
	await build(t.context, ['-f', '-', '--secret', `id=s,src=${path.join(store.directory, 'secret')}`, '--ssh', `default=${agent}`, '--build-context', `lent=${other}`, '--output', `type=local,dest=${out}`, context], { stdin: Buffer.from(dockerfile) });
	t.is(await readFile(path.join(out, 'seen'), 'utf8'), 'hushagent\n');
	t.is(await readFile(path.join(out, 'other'), 'utf8'), 'from the other context');
	const missing = await t.context.daemon.buildx(['build', '--progress', 'plain', '-f', '-', context], { stdin: Buffer.from(`FROM ${base}\nRUN --mount=type=secret,id=none,required=true true\n`) });
	t.regex(missing.stderr, /secret none: not found/);
});

test.serial('a context is read from standard input, as a tar and as a Dockerfile', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: 'FROM scratch\nCOPY dir /\n', 'dir/sub/file': 'from a tar' });
	const tar = execFileSync('tar', ['-C', context, '-cz', '.']);
	const out = path.join(store.directory, 'stdin-out');
	await build(t.context, ['--output', `type=local,dest=${out}`, '-'], { stdin: tar });
	t.is(await readFile(path.join(out, 'sub/file'), 'utf8'), 'from a tar');
	const { stderr } = await build(t.context, ['-'], { stdin: Buffer.from(`FROM ${base}\nRUN echo from standard input\n`) });
	t.regex(stderr, /^#\d+ [0-9.]+ from standard input$/m);
	const cut = await t.context.daemon.buildx(['build', '--progress', 'plain', '-'], { stdin: tar.subarray(0, 100) });
	t.not(cut.code, 0);
});

test.serial('errors show the place and what went wrong', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo to stdout; exit 7\n` });
	const failed = await t.context.daemon.buildx(['build', '--progress', 'plain', context]);
	t.is(failed.code, 1);
	t.regex(failed.stderr, /^ +2 \| >>> RUN echo to stdout; exit 7$/m);
	t.regex(failed.stderr, /did not complete successfully: exit code: 7/);
	t.regex(failed.stderr, /to stdout/);
	await writeFile(path.join(context, 'Dockerfile'), 'FROM scratch\nFOO bar\n');
	t.regex((await t.context.daemon.buildx(['build', '--progress', 'plain', context])).stderr, /^ +2 \| >>> FOO bar$[^]*unknown instruction: FOO/m);
});

test.serial('an outline is printed, and a bake file is built', async (t) => {
	const { base, store } = t.context;
	const context = await makeContext(store, {
		Dockerfile: `FROM ${base} AS first\nARG WHAT=1\nRUN echo "$WHAT" >/what\nFROM scratch\nCOPY --from=first /what /\n`,
		'bake.json': JSON.stringify({ group: { default: { targets: ['a', 'b'] } }, target: Object.fromEntries(['a', 'b'].map((name) => [name, { output: [`type=local,dest=out-${name}`], args: { WHAT: name } }])) }),
	});
	const outline = await build(t.context, ['--print=outline', context], { env: { BUILDX_EXPERIMENTAL: '1' } });
	t.regex(outline.stdout, /^WHAT\s+1/m);
	await succeed(t.context.daemon.buildx(['bake', '-f', 'bake.json'], { cwd: context }));
	t.is(await readFile(path.join(context, 'out-a/what'), 'utf8'), 'a\n');
	t.is(await readFile(path.join(context, 'out-b/what'), 'utf8'), 'b\n');
});

test.serial('the history lists builds, shows what they were and said, and lets them be taken along and forgotten', async (t) => {
	const { base, daemon, registry, store } = t.context;
	const history = async (...args: readonly string[]): Promise<string> => (await succeed(daemon.buildx(['history', ...args]))).stdout;
	const list = async (...args: readonly string[]): Promise<readonly { readonly ref: string; readonly status: string }[]> => (
		(await history('ls', '--format', 'json', ...args)).split('\n').filter((line) => line !== '').map((line) => JSON.parse(line) as { ref: string; status: string })
	);
	const metadata = path.join(store.directory, 'remembered.json');
	await build(t.context, ['--push', '--provenance=true', '-t', `${registry.host}/remembered`, '--metadata-file', metadata, await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo said-$((40 + 2))\n` })]);
	const said = JSON.parse(await readFile(metadata, 'utf8')) as { readonly 'buildx.build.ref': string; readonly 'containerimage.digest': string };
	const ref = said['buildx.build.ref'].split('/').at(-1) ?? '';
	const failed = await daemon.buildx(['build', await makeContext(store, { Dockerfile: `FROM ${base}\nRUN exit 3\n` })]);
	t.not(failed.code, 0);

	t.is((await list()).find((build) => build.ref.endsWith(ref))?.status, 'Completed');
	const [bad] = await list('--filter', 'status=error');
	const shown = JSON.parse(await history('inspect', '--format', 'json', bad?.ref.split('/').at(-1) ?? '')) as { readonly Status: string; readonly Error: { readonly Message: string } };
	t.is(shown.Status, 'failed');
	t.regex(shown.Error.Message, /exit code: 3/);
	t.regex((await succeed(daemon.buildx(['history', 'logs', '--progress', 'plain', ref]))).stderr, /said-42/);
	t.regex(await history('inspect', 'attachment', '--type', 'provenance', ref), /"buildDefinition"/);

	const file = path.join(store.directory, 'remembered.dockerbuild');
	await history('export', '-o', file, ref);
	const blobs = await readTar(gunzipSync(await readFile(file)));
	const digest = said['containerimage.digest'];
	t.is(createHash('sha256').update(blobs.find(({ name }) => name === `blobs/${digest.replace(':', '/')}`)?.content ?? '').digest('hex'), digest.slice('sha256:'.length), 'the image is named');

	await history('rm', ref);
	t.false((await list()).some((build) => build.ref.endsWith(ref)));
	t.regex((await daemon.buildx(['history', 'logs', ref])).stderr, /no record found/);
});

test.serial('a client that is killed ends its build, and later ones read their lazy bases', async (t) => {
	const { base, daemon, registry, store } = t.context;
	const maker = await ownStore(t);
	await obdBuild(maker, ['-t', `${registry.host}/lazy`, '--push', await makeContext(maker, { Dockerfile: `FROM ${base}\nCOPY data /data\n`, data: randomBytes(1 << 20) })]);
	// The device server runs already when the build is cancelled.
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN true\nRUN exec sleep 1571\n` });
	const kill = new AbortController();
	const running = daemon.buildx(['build', '--progress', 'plain', '--no-cache', context], { signal: kill.signal });
	const sleeping = (): boolean => execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n').includes('sleep 1571');
	while (!sleeping()) await new Promise((resolve) => { setTimeout(resolve, 50); });
	kill.abort();
	await running;
	while (sleeping()) await new Promise((resolve) => { setTimeout(resolve, 50); });
	const { stderr } = await build(t.context, [await makeContext(store, { Dockerfile: `FROM ${registry.host}/lazy\nRUN wc -c </data\n` })]);
	t.regex(stderr, /^#\d+ [0-9.]+ 1048576$/m);
});

test.serial('du shows what is there, prune takes it away, and a build makes it again', async (t) => {
	const { base, daemon, store } = t.context;
	await mkdir(path.join(store.directory, 'pruned'), { recursive: true });
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo pruned >/pruned\n` });
	await build(t.context, [context]);
	const { stdout } = await succeed(daemon.buildx(['du', '--verbose']));
	t.regex(stdout, /^Description:\s+\[2\/2\] RUN echo pruned >\/pruned$/m);
	await succeed(daemon.buildx(['prune', '--force', '--all']));
	t.regex((await succeed(daemon.buildx(['du']))).stdout, /^Total:\s+0B$/m);
	const { stderr } = await build(t.context, [context]);
	t.is(stateOf(stderr, /RUN echo pruned/), 'DONE');
});

test.serial('the daemon ends well and leaves nothing', async (t) => {
	const { daemon, store } = t.context;
	const { code, stderr } = await daemon.stop();
	t.is(code, 0);
	t.regex(stderr, /msg=stopped/);
	await nothingLeft(t, store);
});
