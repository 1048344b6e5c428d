// What a build takes from web servers, git repositories and OCI layouts.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstat, mkdir, readFile, readdir, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import anyTest, { type ExecutionContext, type TestFn } from 'ava';
import { busybox, getConfig, tarOf } from './helpers/base-images.js';
import { nothingLeft, ownStore, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { makeRepository, startGitDaemon, startGitHttp, startSshServer } from './helpers/git-server.js';
import { build, makeContext, runObd, type TestStore } from './helpers/obd.js';
import { startWebServer, type WebServer } from './helpers/web-server.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

/** Builds a Dockerfile and gives its file system as a directory. */
async function files(store: TestStore, dockerfile: string, args: readonly string[] = []): Promise<{ readonly out: string; readonly stderr: string }> {
	const out = path.join(store.directory, `out-${process.hrtime.bigint()}`);
	const context = await makeContext(store, { Dockerfile: dockerfile });
	const { stderr } = await build(store, ['-o', out, ...args, context]);
	return { out, stderr };
}

async function failure(store: TestStore, dockerfile: string, args: readonly string[] = []): Promise<string> {
	const { code, stderr } = await runObd(store, [...args, await makeContext(store, { Dockerfile: dockerfile })]);
	return code === 0 ? 'the build succeeded' : stderr;
}

async function web(t: ExecutionContext): Promise<WebServer> {
	const server = await startWebServer();
	t.teardown(() => server.stop());
	return server;
}

const sha256 = (text: string): string => `sha256:${createHash('sha256').update(text).digest('hex')}`;

test.serial('ADD of a URL: name, mode, owner, times; asked again, downloaded once', async (t) => {
	const { store } = t.context;
	const server = await web(t);
	server.files.set('/dir/plain.txt', { body: 'plain\n', headers: { etag: '"one"', 'last-modified': 'Tue, 14 Nov 2023 22:13:20 GMT' } });
	server.files.set('/named?x=1', { body: 'named\n' });
	const dockerfile = `FROM scratch\nADD ${server.url}/dir/plain.txt /a/\nADD --chmod=640 --chown=5:6 ${server.url}/dir/plain.txt /b\nADD ${server.url}/named?x=1 /c/\n`;
	const { out } = await files(store, dockerfile);
	const [plain, mode] = await Promise.all([stat(path.join(out, 'a/plain.txt')), stat(path.join(out, 'b'))]);
	t.is(plain.mode & 0o7777, 0o600);
	t.is(plain.mtimeMs, 1_700_000_000_000);
	t.is(mode.mode & 0o7777, 0o640);
	t.is(await readFile(path.join(out, 'c/named'), 'utf8'), 'named\n');

	server.requests.length = 0;
	const again = await files(store, dockerfile);
	t.regex(again.stderr, /ADD .*plain\.txt \/a\/\n#\d+ CACHED/);
	t.deepEqual(server.requests.map(({ line }) => line).filter((line) => line.endsWith('.txt')), ['HEAD /dir/plain.txt'], 'one question, no download');

	server.files.set('/dir/plain.txt', { body: 'changed\n', headers: { etag: '"two"' } });
	const changed = await files(store, dockerfile);
	t.is(await readFile(path.join(changed.out, 'a/plain.txt'), 'utf8'), 'changed\n');
	t.is((await stat(path.join(changed.out, 'a/plain.txt'))).mtimeMs, 0, 'a server that does not say when gives no time');
	await nothingLeft(t, store);
});

test.serial('ADD of a URL: redirects, compression on the way, checksums, logins', async (t) => {
	const { store } = t.context;
	const server = await web(t);
	const other = await web(t);
	other.files.set('/target', { body: gzipSync('zipped\n'), headers: { 'content-encoding': 'gzip' } });
	server.files.set('/moved.txt', { status: 302, headers: { location: `${other.url.replace('127.0.0.1', 'localhost')}/target` }, authorization: 'Bearer t0ken' });
	const token = path.join(store.directory, 'token');
	await writeFile(token, 't0ken');
	const { out } = await files(store, `FROM scratch\nADD --checksum=${sha256('zipped\n')} ${server.url}/moved.txt /x\n`, ['--secret', `id=HTTP_AUTH_TOKEN_127.0.0.1,src=${token}`]);
	t.is(await readFile(path.join(out, 'x'), 'utf8'), 'zipped\n');
	t.deepEqual(other.requests.map(({ headers }) => headers.authorization), [undefined], 'the secret is for one host only');

	t.regex(await failure(store, `FROM scratch\nADD --checksum=${sha256('other')} ${other.url}/target /x\n`), new RegExp(`failed to solve: digest mismatch ${sha256('zipped\n')}: ${sha256('other')}`));
	const missing = await failure(store, `FROM scratch\nADD ${server.url}/missing /x\n`);
	t.regex(missing, /^#\d+ ERROR: invalid response status 404$/m);
	t.regex(missing, /failed to solve: failed to load cache key: invalid response status 404/);
	t.regex(await failure(store, `FROM scratch\nADD ${server.url}/moved.txt /x\n`), /invalid response status 401/);
	t.regex(await failure(store, 'FROM scratch\nADD http://127.0.0.1:1/file /x\n'), /Get "http:\/\/127\.0\.0\.1:1\/file": dial tcp 127\.0\.0\.1:1: connect: connection refused/);
	server.files.set('/loop', { status: 302, headers: { location: '/loop' } });
	t.regex(await failure(store, `FROM scratch\nADD ${server.url}/loop /x\n`), /stopped after 10 redirects/);
	server.files.set('/file', { status: 302, headers: { location: 'file:///etc/passwd' } });
	t.regex(await failure(store, `FROM scratch\nADD ${server.url}/file /x\n`), /unsupported protocol scheme/);
	await nothingLeft(t, store);
});

test.serial('a tar or a Dockerfile from a URL is a build context', async (t) => {
	const { store, base } = t.context;
	const server = await web(t);
	server.files.set('/context.tar', { body: await tarOf([{ name: 'Dockerfile', content: `FROM ${base}\nCOPY file /file\n` }, { name: 'file', content: 'of a tar\n' }]) });
	server.files.set('/only', { body: `FROM ${base}\nRUN echo alone > /file\n` });
	for (const [name, content] of [['context.tar', 'of a tar\n'], ['only', 'alone\n']] as const) {
		const out = path.join(store.directory, `context-${name}`);
		await build(store, ['-o', out, `${server.url}/${name}`]);
		t.is(await readFile(path.join(out, 'file'), 'utf8'), content);
	}
	server.files.set('/named/file', { body: 'named\n' });
	const named = await files(store, `FROM scratch\nCOPY --from=web context /got\n`, ['--build-context', `web=${server.url}/named/file`]);
	t.is(await readFile(path.join(named.out, 'got'), 'utf8'), 'named\n');
});

test.serial('ADD of a git repository: branch, tag, commit, subdirectory, .git, submodules', async (t) => {
	const { store } = t.context;
	const repositories = path.join(store.directory, 'git');
	const inner = makeRepository(path.join(repositories, 'inner.git'));
	inner.commit({ file: 'inner\n' });
	const repository = makeRepository(path.join(repositories, 'outer.git'));
	const daemon = await startGitDaemon(repositories);
	t.teardown(() => daemon.stop());
	const first = repository.commit({ file: 'one\n', 'sub/file': 'sub\n', 'run.sh': '#!/bin/sh\n' });
	repository.git('tag', '-a', '-m', 'annotated', 'v1');
	repository.git('checkout', '-q', '-b', 'other');
	repository.git('submodule', '--quiet', 'add', `${daemon.url}/inner.git`, 'mod');
	const second = repository.commit({ file: 'two\n' });
	repository.git('config', 'uploadpack.allowAnySHA1InWant', 'true');
	const url = `${daemon.url}/outer.git`;

	const { out } = await files(store, `FROM scratch
ADD ${url} /default/
ADD ${url}#v1:sub /sub/
ADD ${url}#other /other/
ADD ${url}#${first} /first/
ADD --keep-git-dir=true ${url}#v1 /kept/
ADD ${url}?branch=other&submodules=false&keep-git-dir=true /bare/
ADD --checksum=${second} ${url}#other /checked/
`);
	const read = (name: string): Promise<string> => readFile(path.join(out, name), 'utf8');
	t.is(await read('default/file'), 'two\n', 'the branch HEAD is');
	t.deepEqual((await readdir(path.join(out, 'sub'))), ['file']);
	t.is(await read('other/mod/file'), 'inner\n');
	t.is(await read('first/file'), 'one\n');
	t.is(await read('checked/file'), 'two\n');
	t.deepEqual(await readdir(path.join(out, 'bare/mod')), []);
	const inKept = (...args: string[]): string => execFileSync('git', ['-c', 'safe.directory=*', '-C', path.join(out, 'kept'), ...args], { encoding: 'utf8' }).trim();
	t.is(inKept('rev-parse', 'HEAD'), first);
	t.is(inKept('remote', 'get-url', 'origin'), url);
	t.is(inKept('cat-file', '-t', 'v1'), 'tag');
	t.is(inKept('rev-list', '--count', 'HEAD'), '1', 'without history');
	t.is((await stat(path.join(out, 'default/file'))).mode & 0o777, 0o644);

	const again = await files(store, `FROM scratch\nADD ${url}#other /other/\nADD ${url}#v1:sub /sub/\n`);
	const moved = repository.commit({ file: 'three\n' });
	repository.git('tag', '-f', '-a', '-m', 'moved', 'v1');
	const newer = await files(store, `FROM scratch\nADD ${url}#other /other/\nADD --keep-git-dir=true ${url}#v1 /kept/\n`);
	t.is(await readFile(path.join(again.out, 'other/file'), 'utf8'), 'two\n');
	t.is(await readFile(path.join(newer.out, 'other/file'), 'utf8'), 'three\n');
	t.is(execFileSync('git', ['-c', 'safe.directory=*', '-C', path.join(newer.out, 'kept'), 'rev-parse', 'HEAD'], { encoding: 'utf8' }).trim(), moved, 'a tag that moved');
	const cached = await files(store, `FROM scratch\nADD ${url}#other /other/\n`);
	t.regex(cached.stderr, /1\/1\] ADD .*\/other\/\n#\d+ CACHED/);
	await nothingLeft(t, store);
});

test.serial('git repositories that are not as they should be', async (t) => {
	const { store } = t.context;
	const repositories = path.join(store.directory, 'git-bad');
	const repository = makeRepository(path.join(repositories, 'r.git'));
	const daemon = await startGitDaemon(repositories);
	t.teardown(() => daemon.stop());
	await symlink('/etc', path.join(repository.directory, 'escape'));
	const commit = repository.commit({ file: 'x\n' });
	const url = `${daemon.url}/r.git`;
	t.regex(await failure(store, `FROM scratch\nADD ${url}#nope /\n`), /failed to load cache key: repository does not contain ref nope, output: ""/);
	t.regex(await failure(store, `FROM scratch\nADD ${url}#main:escape /\n`), /invalid subdir escape: git subpath "escape" contains non-directory "escape"/);
	t.regex(await failure(store, `FROM scratch\nADD ${url}#main:none /\n`), /invalid subdir none: failed to lstat "none": statat none: no such file or directory/);
	t.regex(await failure(store, `FROM scratch\nADD --checksum=${'0'.repeat(40)} ${url}#main /\n`), new RegExp(`expected checksum to match 0{40}, got ${commit}`));
	t.regex(await failure(store, `FROM scratch\nADD ${url.replace('/r.git', '/none.git')} /\n`), /error fetching default branch for repository git:.*git stderr:\nfatal: remote error/s);
	t.regex(await failure(store, `FROM scratch\nADD ${url}#--upload-pack=/bin/false /\n`), /invalid git ref/);

	// A submodule must not bring a repository of the builder's own disk.
	const secret = makeRepository(path.join(store.directory, 'secret.git'));
	secret.commit({ secret: 'secret\n' });
	repository.git('submodule', '--quiet', 'add', secret.directory, 'mod');
	repository.commit({});
	t.regex(await failure(store, `FROM scratch\nADD ${url}#main /\n`), /failed to update submodules .*transport 'file' not allowed/s);
	const escape = await files(store, `FROM scratch\nADD ${url}?ref=main&submodules=false /\n`);
	t.true((await lstat(path.join(escape.out, 'escape'))).isSymbolicLink());
	await nothingLeft(t, store);
});

test.serial('git over http with a token, over ssh with an agent or a key; neither is seen', async (t) => {
	const store = await ownStore(t);
	const repositories = path.join(store.directory, 'git-auth');
	makeRepository(path.join(repositories, 'r.git')).commit({ Dockerfile: 'FROM scratch\nCOPY file /file\n', file: 'private\n' });
	const http = await startGitHttp(repositories, `basic ${Buffer.from('x-access-token:t0ken').toString('base64')}`);
	t.teardown(() => http.stop());
	const token = path.join(store.directory, 'token');
	await writeFile(token, 't0ken');
	const out = path.join(store.directory, 'out-http');
	const trace = path.join(store.directory, 'trace');
	await build(store, ['--secret', `id=GIT_AUTH_TOKEN,src=${token}`, '-o', out, `${http.url}/r.git`], { trace });
	t.is(await readFile(path.join(out, 'file'), 'utf8'), 'private\n');
	t.false((await readFile(trace, 'utf8')).includes(Buffer.from('x-access-token:t0ken').toString('base64')), 'no process shows the token');
	const refused = await runObd(store, ['--secret', `id=GIT_AUTH_TOKEN.elsewhere,src=${token}`, `${http.url}/r.git`]);
	t.regex(refused.stderr, /could not read Username|Authentication failed/);

	const ssh = await startSshServer(path.join(store.directory, 'sshd'));
	t.teardown(() => ssh.stop());
	const outSsh = path.join(store.directory, 'out-ssh');
	await build(store, ['--ssh', `default=${ssh.key}`, '-o', outSsh, `${ssh.url}${repositories}/r.git`]);
	t.is(await readFile(path.join(outSsh, 'file'), 'utf8'), 'private\n');
	const none = await runObd(store, [`${ssh.url}${repositories}/r.git`]);
	t.regex(none.stderr, /unset ssh forward key default/);
	await nothingLeft(t, store);
});

test.serial('an OCI layout is a named context, ordinary or overlaybd', async (t) => {
	const { store, base, registry: { host } } = t.context;
	const layouts = path.join(store.directory, 'layouts');
	await mkdir(layouts, { recursive: true });
	for (const [name, args] of [['ordinary', ['-o', `type=oci,tar=false,compression=gzip,dest=${layouts}/ordinary`]], ['block', ['-o', `type=oci,tar=false,dest=${layouts}/block`]]] as const) {
		await build(store, [...args, '-t', 'x/y:v1', await makeContext(store, { Dockerfile: `FROM ${base}\nENV from=layout\nRUN echo in > /in\n` })]);
		const fresh = await ownStore(t);
		const dockerfile = await makeContext(fresh, { Dockerfile: 'FROM lent\nRUN echo "$from" $(cat /in) > /out\n' });
		await build(fresh, ['--build-context', `lent=oci-layout://${layouts}/${name}:v1`, '-t', `${host}/from-${name}`, '--push', '-o', `type=local,dest=${fresh.directory}/out`, dockerfile]);
		t.is(await readFile(path.join(fresh.directory, 'out/out'), 'utf8'), 'layout in\n');
		t.true((await getConfig(host, `from-${name}`)).config.Env?.includes('from=layout'));
		await nothingLeft(t, fresh);
	}
	const broken = path.join(layouts, 'block');
	const index = JSON.parse(await readFile(path.join(broken, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
	const digest = index.manifests[0]?.digest ?? '';
	const args = (reference: string): string[] => ['--build-context', `lent=oci-layout://${reference}`];
	const dockerfile = 'FROM lent\nRUN true\n';
	t.regex(await failure(store, dockerfile, args(`${layouts}/none`)), /oci-layout reference "oci-layout:.*none" could not be resolved: ENOENT/);
	t.regex(await failure(store, dockerfile, args(`${broken}@sha256:${'0'.repeat(64)}`)), /unable to get info about digest: content sha256:0+: not found/);
	await writeFile(path.join(broken, 'blobs/sha256', digest.slice(7)), 'something else');
	t.regex(await failure(store, dockerfile, args(`${broken}@${digest}`)), /the client sent something else/);
	await rm(layouts, { recursive: true });
	await nothingLeft(t, store);
});

test.serial('a checkout can be what a stage is', async (t) => {
	const { store } = t.context;
	const repositories = path.join(store.directory, 'git-stage');
	const repository = makeRepository(path.join(repositories, 'r.git'));
	const daemon = await startGitDaemon(repositories);
	t.teardown(() => daemon.stop());
	const tree = busybox().filter(({ name }) => /^bin\/(busybox|sh|cat)$/.test(name));
	for (const entry of tree) {
		const file = path.join(repository.directory, entry.name);
		await mkdir(path.dirname(file), { recursive: true });
		if (entry.type === 'symlink') await symlink(entry.linkname ?? '', file);
		else await writeFile(file, entry.content ?? '', { mode: 0o755 });
	}
	repository.commit({});
	const { out } = await files(store, 'FROM root\nRUN ["/bin/sh", "-c", "echo ran > /ran"]\n', ['--build-context', `root=${daemon.url}/r.git`]);
	t.is(await readFile(path.join(out, 'ran'), 'utf8'), 'ran\n');
	await nothingLeft(t, store);
});
