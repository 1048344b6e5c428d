// Frontends in containers: obd's own as an image, and images that are no frontends.
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { busybox, pushBase, tarOf } from './helpers/base-images.js';
import { build, makeContext, runObd } from './helpers/obd.js';
import { nothingLeft, setUpBuilds, type BuildContext } from './helpers/build-fixture.js';

const test = anyTest as TestFn<BuildContext>;
setUpBuilds(test);

const makeImageContext = fileURLToPath(new URL('../../../frontend/image/context.mjs', import.meta.url));

test.serial.before('the frontend image is built by obd-build', async (t) => {
	const { registry, store } = t.context;
	const context = path.join(store.directory, 'frontend-image');
	execFileSync(process.execPath, [makeImageContext, context]);
	await build(store, ['--output', `type=image,name=${registry.host}/obd/dockerfile,compression=gzip,push=true`, context]);
});

test.serial('another frontend builds what the syntax directive asks it to', async (t) => {
	const { base, registry, store } = t.context;
	const context = await makeContext(store, {
		Dockerfile: `# syntax=${registry.host}/obd/dockerfile\nFROM ${base} AS made\nARG WHO=nobody\nCOPY name .\nRUN echo "$WHO $(cat name)" >/out\nFROM scratch\nCOPY --from=made /out /\n`,
		name: 'file',
		'.dockerignore': '*\n!name\n',
	});
	const out = path.join(store.directory, 'out');
	const { stderr } = await build(store, ['--build-arg', 'WHO=me', '--output', `type=local,dest=${out}`, context]);
	t.is(await readFile(path.join(out, 'out'), 'utf8'), 'me file\n');
	t.regex(stderr, /resolve image config for docker-image:\/\/127\.0\.0\.1:\d+\/obd\/dockerfile:latest$/m);
	await nothingLeft(t, store);
});

test.serial('BUILDKIT_SYNTAX asks for another frontend as the directive does', async (t) => {
	const { base, registry, store } = t.context;
	const context = await makeContext(store, { Dockerfile: `FROM ${base}\nRUN echo built >/out\n` });
	const { stderr } = await build(store, ['--build-arg', `BUILDKIT_SYNTAX=${registry.host}/obd/dockerfile`, context]);
	t.regex(stderr, /resolve image config for docker-image:\/\/127\.0\.0\.1:\d+\/obd\/dockerfile:latest$/m);
	const missing = await runObd(store, ['--build-arg', `BUILDKIT_SYNTAX=${registry.host}/no/such`, context]);
	t.is(missing.code, 1);
	t.regex(missing.stderr, /^ERROR: .*BUILDKIT_SYNTAX = \S+\/no\/such: .*not found/m);
	await nothingLeft(t, store);
});

test.serial('errors of another frontend come with their line, and questions with their answer', async (t) => {
	const { base, registry, store } = t.context;
	const syntax = `# syntax=${registry.host}/obd/dockerfile\n`;
	const parse = await runObd(store, [await makeContext(store, { Dockerfile: `${syntax}FROM ${base}\nRUNN true\n` })]);
	t.is(parse.code, 1);
	t.regex(parse.stderr, /^Dockerfile:3\n[^]*^ +3 \| >>> RUNN true$[^]*^ERROR: .*unknown instruction: RUNN/m);
	const run = await runObd(store, [await makeContext(store, { Dockerfile: `${syntax}FROM ${base}\nRUN exit 9\n` })]);
	t.regex(run.stderr, /^ +3 \| >>> RUN exit 9$[^]*exit code: 9$/m);
	const targets = await build(store, ['--call=targets', await makeContext(store, { Dockerfile: `${syntax}FROM ${base} AS one\nFROM one AS two\n` })]);
	t.regex(targets.stdout, /^TARGET +DESCRIPTION\none +\ntwo \(default\)/m);
});

for (const [what, entrypoint, error] of [
	['dies', ['sh', '-c', 'echo boom >&2; exit 3'], /frontend \S+: process "sh -c echo boom >&2; exit 3" did not complete successfully: exit code: 3:\nboom$/m],
	['ends without a word', ['true'], /frontend \S+ ended without a result$/m],
	['talks nonsense', ['sh', '-c', 'echo hello; echo how are you >&2; exec sleep 1000'], /frontend \S+ has broken the connection: what it says on its standard output is not BuildKit's gateway protocol:\nhow are you$/m],
	['does not exist', ['/no/such/frontend'], /frontend \S+: process "\/no\/such\/frontend" did not complete successfully: exit code: 1:/],
] as const) {
	test.serial(`a frontend that ${what} gives a clear error at the syntax directive`, async (t) => {
		const { registry, store } = t.context;
		await pushBase(registry.host, 'odd', [await tarOf(busybox())], { config: { Entrypoint: entrypoint } });
		const { code, stderr } = await runObd(store, [await makeContext(store, { Dockerfile: `# syntax=${registry.host}/odd\nFROM scratch\n` })]);
		t.is(code, 1);
		t.regex(stderr, error);
		t.regex(stderr, /^ +1 \| >>> # syntax=/m);
		await nothingLeft(t, store);
	});
}

test.serial('a frontend is not asked for what its image says it cannot do', async (t) => {
	const { registry, store } = t.context;
	await pushBase(registry.host, 'plain', [await tarOf(busybox())], { config: { Entrypoint: ['true'] } });
	const { stderr } = await runObd(store, ['--call=targets', await makeContext(store, { Dockerfile: `# syntax=${registry.host}/plain\nFROM scratch\n` })]);
	t.regex(stderr, /unsupported frontend capability moby\.buildkit\.frontend\.subrequests$/m);
});
