// The command line of obd-build: its grammar, and what it makes of the flags.
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { readFile, rm, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Readable } from 'node:stream';
import test from 'ava';
import { callResult, parseCall } from '../../src/cli/build/call.js';
import { buildFlags, obdFlags } from '../../src/cli/build/flags.js';
import { parseFlags, UsageError } from '../../src/cli/build/flag-set.js';
import { helpText } from '../../src/cli/build/help.js';
import { prepareRequest, type PreparedRequest } from '../../src/cli/build/request.js';
import { imageId, writeMetadataFile } from '../../src/cli/build/results.js';

const table = [...buildFlags, ...obdFlags];
const parse = (...argv: string[]): ReturnType<typeof parseFlags> => parseFlags(table, argv);

test('flags in all their forms', (t) => {
	const flags = parse('-t', 'a', '--tag=b', '-tc', '-t=d', '-qf', 'Other', '--push', 'ctx', '--no-cache=false', '--label', '--x', '--', '--not-a-flag');
	t.deepEqual(flags.list('tag'), ['a', 'b', 'c', 'd']);
	t.true(flags.bool('quiet'));
	t.is(flags.string('file'), 'Other');
	t.true(flags.bool('push'));
	t.false(flags.bool('no-cache'));
	t.deepEqual(flags.list('label'), ['--x']);
	t.deepEqual(flags.args, ['ctx', '--not-a-flag']);
	t.is(flags.string('progress'), 'auto');
	t.true(flags.bool('rm'));
	t.deepEqual(parse('-f', '-', '-').args, ['-']);
	t.deepEqual(parse('--add-host', 'a:1.1.1.1,b:2.2.2.2').list('add-host'), ['a:1.1.1.1', 'b:2.2.2.2']);
	t.is(parse('--build-arg=A=b=c').list('build-arg')[0], 'A=b=c');
	t.is(parse('--target=').string('target'), '');
	t.is(parse().string('device'), 'auto');
	t.is(parse('--device', 'tcmu').string('device'), 'tcmu');
});

const usage: readonly (readonly [string[], string])[] = [
	[['--foo'], 'unknown flag: --foo'],
	[['--foo=x'], 'unknown flag: --foo'],
	[['-qx'], 'unknown shorthand flag: \'x\' in -x'],
	[['--tag'], 'flag needs an argument: --tag'],
	[['--device=loop'], 'invalid argument "loop" for "--device" flag: must be one of auto, ublk, tcmu, fuse'],
	[['-qt'], 'flag needs an argument: \'t\' in -t'],
	[['--push=maybe'], 'invalid argument "maybe" for "--push" flag: strconv.ParseBool: parsing "maybe": invalid syntax'],
	[['-q=maybe'], 'invalid argument "maybe" for "-q, --quiet" flag: strconv.ParseBool: parsing "maybe": invalid syntax'],
	[['--=x'], 'bad flag syntax: --=x'],
	[['---x'], 'bad flag syntax: ---x'],
];
for (const [argv, message] of usage) {
	test(`usage: ${argv.join(' ')}`, (t) => {
		t.is(t.throws(() => parse(...argv), { instanceOf: UsageError }).message, message);
	});
}

test('help fits the terminal and shows no hidden flags', (t) => {
	const text = helpText(80);
	t.true(text.split('\n').every((line) => line.length < 80));
	t.regex(text, /^ {2}-t, --tag stringArray {15}Image identifier \(format:\n/m);
	t.regex(text, /--progress string [^]*\(default "auto"\)/);
	t.notRegex(text, /force-rm/);
	t.is(helpText(200).split('\n').filter((line) => line.includes('--')).length, table.filter((flag) => !flag.hidden).length);
});

interface Options {
	readonly env?: Readonly<Record<string, string>>;
	readonly stdin?: string | Buffer;
	readonly stdoutIsTerminal?: boolean;
}

async function prepare(argv: string[], { env = {}, stdin = '', stdoutIsTerminal = false }: Options = {}): Promise<PreparedRequest> {
	const flags = parse(...argv);
	return prepareRequest(flags, flags.args[0] ?? '', { env, stdin: Readable.from([Buffer.from(stdin)]), stdoutIsTerminal, loadPath: '/tmp/load.tar', signal: new AbortController().signal });
}

const context = mkdtempSync(path.join(tmpdir(), 'obd-cli-'));
writeFileSync(path.join(context, 'file'), 'x');
mkdirSync(path.join(context, 'lower'));
writeFileSync(path.join(context, 'lower/dockerfile'), 'FROM scratch');
test.after.always(() => rm(context, { recursive: true, force: true }));

test('attributes as buildx sends them', async (t) => {
	const { request } = await prepare([
		'--build-arg', 'A=1', '--build-arg', 'FROM_ENV', '--build-arg', 'UNSET', '--build-arg', 'EMPTY=', '--label', 'x=y', '--label', 'lone',
		'--target', 'stage', '--platform', 'linux/amd64,linux/arm/v7', '--platform', 'arm64', '--pull', '--no-cache-filter', 'a,b', '--no-cache-filter', 'c',
		'--network', 'none', '--add-host', 'h:10.0.0.1', '--add-host', 'six=[::1]', '--add-host', 'gw:host-gateway', '--shm-size', '64m', '--ulimit', 'nofile=10:20', '--ulimit', 'core=-1',
		'--cgroup-parent', 'p', '--build-context', 'img=docker-image://alpine', '--build-context', `dir:latest=${context}`, '-f', path.join(context, 'Other'), context,
	], { env: { FROM_ENV: 'v', SOURCE_DATE_EPOCH: '7' } });
	t.deepEqual(request.frontendAttributes, {
		'build-arg:A': '1', 'build-arg:FROM_ENV': 'v', 'build-arg:EMPTY': '', 'build-arg:SOURCE_DATE_EPOCH': '7', 'label:x': 'y', 'label:lone': '',
		target: 'stage', platform: 'linux/amd64,linux/arm/v7,linux/arm64', 'image-resolve-mode': 'pull', 'no-cache': 'a,b,c',
		'force-network-mode': 'none', 'add-hosts': 'h=10.0.0.1,six=::1,gw=127.0.0.1', 'shm-size': '67108864', ulimit: 'core=-1:-1,nofile=10:20', 'cgroup-parent': 'p',
		'context:img': 'docker-image://alpine', 'context:dir': 'local:dir', filename: 'Other',
	});
	t.deepEqual(request.localDirectories, { context, dockerfile: context, dir: context });
	t.deepEqual(request.allow, []);
});

test('defaults', async (t) => {
	const { request, call } = await prepare([context]);
	t.deepEqual(request, {
		exports: [{ type: 'image', attributes: {} }],
		secrets: {}, ssh: {}, allow: [], uploads: {}, insecureRegistries: [],
		localDirectories: { context, dockerfile: context },
		contentStores: {}, cacheImports: [], cacheExports: [],
		frontendAttributes: { filename: 'Dockerfile' },
	});
	t.is(call, undefined);
	t.is((await prepare([path.join(context, 'lower')])).request.frontendAttributes['filename'], 'dockerfile');
	t.is((await prepare(['--no-cache', context])).request.frontendAttributes['no-cache'], '');
	t.deepEqual((await prepare(['--network=host', context])).request.allow, ['network.host']);
	t.is((await prepare([context], { env: { DOCKER_DEFAULT_PLATFORM: 'linux/s390x' } })).request.frontendAttributes['platform'], 'linux/s390x');
	t.deepEqual((await prepare(['--allow', 'security.insecure', '--insecure-registry', 'r:5000', context])).request, { ...request, allow: ['security.insecure'], insecureRegistries: ['r:5000'] });
	await t.notThrowsAsync(prepare(['--provenance=false', '--sbom=false', '--attest', 'type=sbom,disabled=true', '--rm', '--force-rm=true', '--compress', context]));
});

const exportsOf = async (...argv: string[]): Promise<unknown> => (await prepare([...argv, context])).request.exports;

test('outputs', async (t) => {
	t.deepEqual(await exportsOf('-t', 'a', '-t', 'b:1', '--push'), [{ type: 'image', attributes: { push: 'true', name: 'a,b:1' } }]);
	t.deepEqual(await exportsOf('-o', 'type=registry,name=x'), [{ type: 'image', attributes: { name: 'x', push: 'true' } }]);
	t.deepEqual(await exportsOf('-o', 'type=image,name=x,compression=gzip', '--push'), [{ type: 'image', attributes: { name: 'x', compression: 'gzip', push: 'true' } }]);
	t.deepEqual(await exportsOf('-o', '/tmp/some-dir'), [{ type: 'local', attributes: {}, destination: '/tmp/some-dir' }]);
	t.deepEqual(await exportsOf('-o', '-'), [{ type: 'tar', attributes: {}, destination: '-' }]);
	t.deepEqual(await exportsOf('-o', 'type=oci'), [{ type: 'oci', attributes: {}, destination: '-' }]);
	t.deepEqual(await exportsOf('-o', 'type=oci,tar=false,dest=/tmp/layout', '-t', 'n'), [{ type: 'oci', attributes: { tar: 'false', name: 'n' }, destination: '/tmp/layout' }]);
	t.deepEqual(await exportsOf('-o', 'type=local,"dest=/tmp/with,comma"'), [{ type: 'local', attributes: {}, destination: '/tmp/with,comma' }]);
	t.deepEqual(await exportsOf('--load', '-t', 'n'), [{ type: 'docker', attributes: { name: 'n' }, destination: '/tmp/load.tar' }]);
	t.deepEqual(await exportsOf('-o', 'type=cacheonly'), []);
	t.deepEqual(await exportsOf('--check'), []);
	t.deepEqual(await exportsOf('-o', 'type=tar,dest=/tmp/x.tar', '-o', 'type=image,name=y'), [{ type: 'tar', attributes: {}, destination: '/tmp/x.tar' }, { type: 'image', attributes: { name: 'y' } }]);
});

test('secrets and agents', async (t) => {
	const secret = path.join(context, 'file');
	const { request } = await prepare([
		'--secret', `id=a,src=${secret}`, '--secret', 'id=b,env=VAR', '--secret', `type=file,id=c,source=${secret}`, '--secret', 'type=env,id=d,src=VAR', '--secret', 'id=FROM_ENV', '--secret', `id=${secret}`,
		'--ssh', 'default', '--ssh', 'keys=/k1,/k2', context,
	], { env: { FROM_ENV: '1', SSH_AUTH_SOCK: '/agent' } });
	t.deepEqual(request.secrets, { a: { file: secret }, b: { env: 'VAR' }, c: { file: secret }, d: { env: 'VAR' }, FROM_ENV: { env: 'FROM_ENV' }, [secret]: { file: secret } });
	t.deepEqual(request.ssh, { default: ['/agent'], keys: ['/k1', '/k2'] });
});

const failures: readonly (readonly [string[], string | RegExp])[] = [
	[['/no/such/dir'], 'failed to build: unable to prepare context: path "/no/such/dir" not found'],
	[[''], 'failed to build: please specify build context (e.g. "." for the current directory)'],
	[['-f', '-', '-'], 'failed to build: invalid argument: can\'t use stdin for both build context and dockerfile'],
	[['-t', 'UPPER', context], 'invalid tag "UPPER": invalid reference format: repository name (library/UPPER) must be lowercase'],
	[['-t', 'a b', context], 'invalid tag "a b": invalid reference format'],
	[['--push', context], 'tag is needed when pushing to registry'],
	[['--build-arg', '=x', context], 'invalid key-value pair "=x": empty key'],
	[['-o', 'dest=x,foo=y', context], 'type is required for output'],
	[['-o', 'type=oci,foo', context], 'invalid value foo'],
	[['-o', 'type=local', context], 'dest is required for local exporter'],
	[['-o', 'type=local,dest=-', context], 'dest cannot be stdout for local exporter'],
	[['-o', `type=local,dest=${context}/file`, context], `destination directory ${context}/file is a file`],
	[['-o', `type=tar,dest=${context}`, context], `destination file ${context} is a directory`],
	[['-o', '-', '-o', 'type=oci', context], 'multiple outputs configured to write to stdout'],
	[['-o', 'type=nonsense', context], /^exporter "nonsense" could not be found/],
	[['-o', 'type=tar,"dest=x', context], /parse error on line 1/],
	[['--iidfile', 'x', '-o', 'type=tar,dest=/tmp/y', context], 'local and tar exporters are incompatible with image ID file'],
	[['--secret', 'src=x', context], 'secret missing ID'],
	[['--secret', 'id=x,foo=y', context], 'unexpected key \'foo\' in \'foo=y\''],
	[['--secret', 'x', context], 'invalid field \'x\' must be a key=value pair'],
	[['--secret', 'id=x,type=vault', context], 'unsupported secret type "vault"'],
	[['--secret', 'id=x,src=/no/such', context], 'failed to stat /no/such: stat /no/such: no such file or directory'],
	[['--ssh', 'default', context], /^--ssh default: invalid empty ssh agent socket/],
	[['--add-host', 'h:nonsense', context], 'invalid host h:nonsense'],
	[['--add-host', 'h', context], 'invalid host h'],
	[['--ulimit', 'nofile', context], 'invalid argument "nofile" for "--ulimit" flag: invalid ulimit argument: nofile'],
	[['--ulimit', 'nonsense=1', context], 'invalid argument "nonsense=1" for "--ulimit" flag: invalid ulimit type: nonsense'],
	[['--ulimit', 'nofile=5:1', context], 'invalid argument "nofile=5:1" for "--ulimit" flag: ulimit soft limit must be less than or equal to hard limit: 5 > 1'],
	[['--ulimit', 'nofile=1:2:3', context], 'invalid argument "nofile=1:2:3" for "--ulimit" flag: too many limit value arguments - 1:2:3, can only have up to two, `soft[:hard]`'],
	[['--network', 'bridge', context], /^network mode "bridge" not supported/],
	[['--allow', 'everything', context], 'unknown entitlement everything'],
	[['--shm-size', 'much', context], /invalid size/],
	[['--platform', 'linux/', context], /invalid/],
	[['--no-cache', '--no-cache-filter', 'a', context], '--no-cache and --no-cache-filter cannot currently be used together'],
	[['--cache-to', 'mode=max', context], 'type required for "mode=max"'],
	[['--cache-from', 'type=local,tag=x', context], 'local cache importer requires src'],
	[['--cache-to', 'type=local,mode=max', context], 'local cache exporter requires dest'],
	[['--sbom=true', context], /^attestation type "sbom" is not supported/],
	[['--attest', 'mode=max', context], 'attestation type not specified'],
	[['--build-context', 'x', context], 'failed to build: invalid context value: x, expected key=value'],
	[['--build-context', 'x=/no/such', context], 'failed to build: failed to get build context x: stat /no/such: no such file or directory'],
	[['--build-context', 'x y=.', context], /^failed to build: invalid context name x y: /],
	[['--call', 'a,b', context], 'invalid print value: a,b'],
	[['--call', 'check,ignorestatus=perhaps', context], 'invalid ignorestatus print value: perhaps'],
];
for (const [argv, message] of failures) {
	test(`refused: ${argv.join(' ')}`, async (t) => {
		const error = await t.throwsAsync(prepare(argv));
		if (typeof message === 'string') t.is(error.message, message);
		else t.regex(error.message, message);
	});
}

test('a terminal gets no archive', async (t) => {
	const error = await t.throwsAsync(prepare(['-o', 'type=oci', context], { stdoutIsTerminal: true }));
	t.is(error.message, 'dest file is required for oci exporter. refusing to write to console');
});

test('a Dockerfile from stdin, with and without a context', async (t) => {
	const alone = await prepare(['-'], { stdin: 'FROM scratch\n' });
	const { context: empty = '', dockerfile = '' } = alone.request.localDirectories;
	t.is(await readFile(path.join(dockerfile, 'Dockerfile'), 'utf8'), 'FROM scratch\n');
	t.not(empty, dockerfile);
	await alone.release();
	await t.throwsAsync(stat(empty));
	await t.throwsAsync(stat(dockerfile));

	const withContext = await prepare(['-f', '-', context], { stdin: 'FROM alpine\n' });
	t.is(withContext.request.localDirectories['context'], context);
	t.is(await readFile(path.join(withContext.request.localDirectories['dockerfile'] ?? '', 'Dockerfile'), 'utf8'), 'FROM alpine\n');
	await withContext.release();

	t.is((await t.throwsAsync(prepare(['-f', 'x', '-'], { stdin: 'FROM scratch' }))).message, 'failed to build: ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles');
});

test('a Dockerfile from a URL, with every kind of context', async (t) => {
	const server = createServer((request, response) => {
		if (request.url === '/Dockerfile') response.end('FROM alpine\n');
		else if (request.url === '/private') response.writeHead(request.headers.authorization === `Basic ${btoa('me:pass word')}` ? 200 : 401).end('FROM private\n');
		else if (request.url === '/large') response.end(Buffer.alloc(3 << 20, '#'));
		else response.writeHead(404).end('nothing here');
	});
	await new Promise<void>((resolve) => { server.listen(0, '127.0.0.1', resolve); });
	t.teardown(() => { server.closeAllConnections(); server.close(); });
	const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
	const dockerfileOf = ({ request }: PreparedRequest): Promise<string> => readFile(path.join(request.localDirectories['dockerfile'] ?? '', 'Dockerfile'), 'utf8');

	const local = await prepare(['-f', `http://${host}/Dockerfile`, context]);
	t.is(await dockerfileOf(local), 'FROM alpine\n');
	t.is(local.request.localDirectories['context'], context);
	await local.release();
	await t.throwsAsync(stat(local.request.localDirectories['dockerfile'] ?? ''));

	const remote = await prepare(['-f', `http://me:pass%20word@${host}/private`, 'https://example.com/repo.git']);
	t.is(await dockerfileOf(remote), 'FROM private\n');
	t.deepEqual(remote.request.frontendAttributes, { context: 'https://example.com/repo.git', filename: 'Dockerfile', dockerfilekey: 'dockerfile' });
	await remote.release();

	const fails = async (file: string, message: string): Promise<void> => {
		t.is((await t.throwsAsync(prepare(['-f', file, context]))).message, `failed to build: failed to load ${message}`);
	};
	await fails(`http://${host}/none`, `http://${host}/none: invalid response status 404`);
	await fails(`http://me:wrong@${host}/private`, `http://xxxxx:xxxxx@${host}/private: invalid response status 401`);
	await fails(`http://${host}/large`, `http://${host}/large: Dockerfile /large bigger than allowed max size (2MB)`);
	server.closeAllConnections();
	await new Promise((resolve) => { server.close(resolve); });
	await fails(`http://${host}/Dockerfile`, `http://${host}/Dockerfile: Get "http://${host}/Dockerfile": dial tcp ${host}: connect: connection refused`);
});

test('a context as a tar archive from stdin is uploaded when the build asks for it', async (t) => {
	const archive = Buffer.concat([Buffer.from([0x1f, 0x8b, 8, 0]), Buffer.alloc(2000, 1)]);
	const { request } = await prepare(['-f', 'sub/Dockerfile', '-'], { stdin: archive });
	t.deepEqual(request.frontendAttributes, { context: 'http://buildkit-session/context', filename: 'sub/Dockerfile' });
	t.deepEqual(request.localDirectories, {});
	const chunks: Uint8Array[] = [];
	for await (const chunk of request.uploads?.['/context'] ?? []) chunks.push(chunk);
	t.deepEqual(Buffer.concat(chunks), archive);
});

test('remote contexts go to the frontend', async (t) => {
	t.deepEqual((await prepare(['https://example.com/repo.git#main'])).request.frontendAttributes, { context: 'https://example.com/repo.git#main', filename: 'Dockerfile' });
	t.deepEqual((await prepare(['-f', 'sub/Dockerfile', 'git@example.com:org/repo.git'])).request, {
		...(await prepare([context])).request,
		localDirectories: {},
		contentStores: {}, cacheImports: [], cacheExports: [],
		frontendAttributes: { context: 'git@example.com:org/repo.git', filename: 'sub/Dockerfile' },
	});
});

test('calls', (t) => {
	t.is(parseCall('build'), undefined);
	t.deepEqual(parseCall('check,format=json,ignorestatus=true'), { name: 'lint', format: 'json', ignoreStatus: true });
	const lint = { name: 'lint', format: '', ignoreStatus: false };
	const warned = (count: number): string => JSON.stringify({ warnings: Array.from({ length: count }, () => ({})), sources: [{ filename: 'Dockerfile', data: Buffer.from('FROM scratch\nFOO\n').toString('base64') }] });
	t.deepEqual(callResult(lint, { 'result.json': warned(1), 'result.txt': 'W\nDockerfile:1\n', 'result.statuscode': '1' }, 'sub/My.Dockerfile'), { text: 'Check complete, 1 warning has been found!\nW\nsub/My.Dockerfile:1\n', exitCode: 1 });
	t.deepEqual(callResult({ ...lint, ignoreStatus: true }, { 'result.json': warned(2), 'result.txt': 'W\n', 'result.statuscode': '1' }, 'D'), { text: 'Check complete, 2 warnings have been found!\nW\n', exitCode: 0 });
	t.deepEqual(callResult(lint, { 'result.json': '{"warnings":null}', 'result.txt': '', 'result.statuscode': '0' }, 'D'), { text: 'Check complete, no warnings found.\n', exitCode: 0 });
	const failing = JSON.stringify({ ...JSON.parse(warned(0)) as object, buildError: { message: 'unknown', location: { ranges: [{ start: { line: 2 }, end: { line: 2 } }] } } });
	t.is(callResult(lint, { 'result.json': failing, 'result.txt': '', 'result.statuscode': '1' }, 'D').error, 'unknown\nD:2\n--------------------\n   1 |     FROM scratch\n   2 | >>> FOO\n   3 |     \n--------------------\n');
	t.deepEqual(callResult({ ...lint, name: 'targets', format: 'json' }, { 'result.json': '{"a":1}', 'result.txt': 'x' }, 'D'), { text: '{"a":1}\n', exitCode: 0 });
});

test('attestations', async (t) => {
	const attributes = async (...args: string[]): Promise<Readonly<Record<string, string>>> => (await prepare([...args, context])).request.frontendAttributes;
	t.like(await attributes('--provenance=true'), { 'attest:provenance': '' });
	t.like(await attributes('--provenance', 'mode=max,builder-id=x'), { 'attest:provenance': 'mode=max,builder-id=x' });
	t.like(await attributes('--attest', 'type=provenance,mode=min', '--attest', 'type=provenance,mode=max'), { 'attest:provenance': 'mode=max' });
	t.false('attest:provenance' in await attributes('--attest', 'type=provenance,mode=max', '--provenance=false'));
});

test('metadata', async (t) => {
	const file = path.join(context, 'metadata.json');
	const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64');
	const metadata = { 'image.name': 'a', 'containerimage.digest': 'sha256:m', 'containerimage.descriptor': base64({ size: 1 }), 'result.json': '{"x":[]}', list: base64([{ a: 1 }]), number: base64(5) };
	await writeMetadataFile(file, metadata, 'min');
	t.is(await readFile(file, 'utf8'), JSON.stringify({
		'containerimage.descriptor': { size: 1 }, 'containerimage.digest': 'sha256:m', 'image.name': 'a', list: [{ a: 1 }], number: base64(5), 'result.json': { x: [] },
	}, null, 2));
	t.is(imageId(metadata), 'sha256:m');
	t.is(imageId({ ...metadata, 'containerimage.config.digest': 'sha256:c' }), 'sha256:c');
	const predicate = { buildDefinition: { buildType: 't', internalParameters: { buildConfig: {}, builderPlatform: 'p' } }, runDetails: { builder: { id: '' }, metadata: {} } };
	const provenance = { 'buildx.build.provenance': base64(predicate) };
	const written = async (mode: string): Promise<unknown> => {
		await writeMetadataFile(file, provenance, mode);
		return JSON.parse(await readFile(file, 'utf8')) as unknown;
	};
	t.deepEqual(await written('max'), { 'buildx.build.provenance': predicate });
	t.deepEqual(await written('min'), { 'buildx.build.provenance': { buildDefinition: { buildType: 't', internalParameters: { builderPlatform: 'p' } }, runDetails: { builder: { id: '' } } } });
	t.deepEqual(await written('disabled'), {});
	await t.throwsAsync(writeMetadataFile(path.join(context, 'no/such/dir/file'), {}, 'min'), { code: 'ENOENT' });
});
