// The frontend image under Debian's dockerd: a part of the recorded cases comes out as it does under BuildKit.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import anyTest, { type TestFn } from 'ava';
import { pushBase, tarOf } from './helpers/base-images.js';
import { setUpBuilds, type BuildContext } from './helpers/build-fixture.js';
import { startDockerd, type Dockerd } from './helpers/dockerd.js';
import { build } from './helpers/obd.js';
import { officialBusybox, officialConfig } from './helpers/official-busybox.js';

interface Context extends BuildContext {
	docker: Dockerd;
}

const test = anyTest as TestFn<Context>;
setUpBuilds(anyTest as TestFn<BuildContext>);

const root = fileURLToPath(new URL('../../../', import.meta.url));
const cases = path.join(root, 'testdata/conformance/cases');

interface CaseArgs {
	readonly dockerfile?: string;
	readonly build_args?: Record<string, string>;
	readonly labels?: Record<string, string>;
	readonly target?: string;
	readonly setup?: string;
	readonly secrets?: unknown;
	readonly allow?: unknown;
	readonly opts?: unknown;
	readonly local_contexts?: unknown;
	readonly platform?: string;
	readonly no_dockerfile?: boolean;
}

interface Expected {
	readonly status: 'ok' | 'fail';
	readonly config?: { readonly config: Record<string, unknown> };
}

/** What a builder as old as Debian's does differently, whatever the frontend. */
const older = new Set(['hw-copy-parents-modes', 'hw-copy-symlink-dangling']);

function readCase(name: string): { readonly args: CaseArgs; readonly expected: Expected } {
	const json = (file: string): unknown => JSON.parse(readFileSync(path.join(cases, name, file), 'utf8'));
	return { args: existsSync(path.join(cases, name, 'args.json')) ? json('args.json') as CaseArgs : {}, expected: json('expected.json') as Expected };
}

/** Every fourth of the cases that need nothing but what old clients have. */
const chosen = readdirSync(cases).filter((name) => {
	const { args } = readCase(name);
	const plain = !args.secrets && !args.allow && !args.opts && !args.local_contexts && !args.platform && !args.no_dockerfile && !args.setup;
	return name.startsWith('hw-') && plain && !older.has(name) && existsSync(path.join(cases, name, 'Dockerfile'));
}).filter((_, i) => i % 4 === 0);

test.serial.before(async (t) => {
	const { registry, store } = t.context;
	t.context.docker = await startDockerd();
	const context = path.join(store.directory, 'frontend-image');
	execFileSync(process.execPath, [path.join(root, 'frontend/image/context.mjs'), context]);
	await build(store, ['--output', `type=image,name=${registry.host}/obd/dockerfile,compression=gzip,push=true`, context]);
	await pushBase(registry.host, 'busybox', [await tarOf(officialBusybox())], { config: officialConfig });
});

test.after.always(async (t) => {
	await t.context.docker?.stop();
});

async function contextOf(name: string, args: CaseArgs, directory: string, host: string): Promise<string> {
	const context = await mkdtemp(path.join(directory, 'case-'));
	const source = path.join(cases, name);
	if (existsSync(path.join(source, 'context'))) cpSync(path.join(source, 'context'), context, { recursive: true, verbatimSymlinks: true });
	else if (existsSync(path.join(source, 'context.tar'))) execFileSync('tar', ['-xf', path.join(source, 'context.tar'), '-C', context]);
	const file = path.join(context, args.dockerfile ?? 'Dockerfile');
	const text = await readFile(existsSync(file) ? file : path.join(source, 'Dockerfile'), 'utf8');
	await mkdir(path.dirname(file), { recursive: true });
	await writeFile(file, `# syntax=${host}/obd/dockerfile\n${text.replaceAll('127.0.0.1:5000', host)}`);
	return context;
}

/** Without what is missing or empty. */
function present(config: Record<string, unknown>): Record<string, unknown> {
	return Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined && value !== null && value !== '' && value !== false && JSON.stringify(value) !== '{}' && JSON.stringify(value) !== '[]'));
}

const fields = ['Env', 'Cmd', 'Entrypoint', 'WorkingDir', 'User', 'Labels', 'ExposedPorts', 'Volumes', 'StopSignal', 'OnBuild', 'Shell'];

for (const name of chosen) {
	test.serial(`under dockerd: ${name}`, async (t) => {
		const { args, expected } = readCase(name);
		const { docker, registry, store } = t.context;
		const context = await contextOf(name, args, store.directory, registry.host);
		const { code, output } = await docker.docker(['build', '--progress', 'plain', '--network', 'host', '-t', name, '-f', path.join(context, args.dockerfile ?? 'Dockerfile'),
			...Object.entries(args.build_args ?? {}).flatMap(([key, value]) => ['--build-arg', `${key}=${value.replaceAll('127.0.0.1:5000', registry.host)}`]),
			...Object.entries(args.labels ?? {}).flatMap(([key, value]) => ['--label', `${key}=${value}`]),
			...(args.target === undefined ? [] : ['--target', args.target]), context]);
		t.is(code === 0 ? 'ok' : 'fail', expected.status, output);
		if (code === 0 && expected.config) {
			const { output: inspected } = await docker.docker(['image', 'inspect', '--format', '{{json .Config}}', name]);
			const config = JSON.parse(inspected) as Record<string, unknown>;
			const pick = (all: Record<string, unknown>): Record<string, unknown> => present(Object.fromEntries(fields.map((field) => [field, all[field]])));
			t.deepEqual(pick(config), pick(expected.config.config));
		}
		await rm(context, { recursive: true, force: true });
	});
}
