// Recorded behaviour of BuildKit, as far as it shows without running anything: which Dockerfiles are refused,
// with what text at which lines, and the image config of the others. OBD_CONFORMANCE names further directories
// of cases.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import test from 'ava';
import { buildDockerfile, FrontendError, formatSource } from '../../frontend/index.js';
import type { Image } from '../../frontend/index.js';
import { fakeClient } from './frontend-harness.js';

const root = join(dirname(fileURLToPath(import.meta.url)), '../../../testdata/conformance');
const directories = [join(root, 'cases'), ...(process.env['OBD_CONFORMANCE'] ?? '').split(':').filter((path) => path !== '')];
const busybox = JSON.parse(readFileSync(join(root, 'bases/busybox.json'), 'utf8')) as unknown;

interface CaseArgs {
	readonly dockerfile?: string;
	readonly build_args?: Record<string, string>;
	readonly labels?: Record<string, string>;
	readonly opts?: Record<string, string>;
	readonly target?: string;
	readonly platform?: string;
	readonly setup?: string;
	readonly local_contexts?: Record<string, string>;
	readonly no_dockerfile?: boolean;
	readonly flags?: readonly string[];
	readonly stdin?: string;
	readonly context?: string;
	readonly env?: Readonly<Record<string, string>>;
	readonly tags: readonly string[];
}

interface Expected {
	readonly status: 'ok' | 'fail';
	readonly error?: string;
	readonly error_lines?: readonly number[];
	readonly config?: { readonly history: readonly unknown[]; readonly config: Record<string, unknown> } & Record<string, unknown>;
}

/** Messages of failures that come from running, not from the Dockerfile. */
const runtime = /^(failed to compute cache key|process "|cannot (replace|copy) to|invalid user index|secret \w+: not found|unset ssh forward key|failed to load LLB|mkdir |lstat |open \/|link |too many links|rpc error: |unexpected EOF|unhandled tar header |archive\/tar: |gzip: |exit status 1: xz: )/;

function materialise(dir: string, args: CaseArgs): string {
	const context = mkdtempSync(join(tmpdir(), 'obd-frontend-'));
	if (existsSync(join(dir, 'context'))) cpSync(join(dir, 'context'), context, { recursive: true, verbatimSymlinks: true });
	else if (existsSync(join(dir, 'context.tar'))) execFileSync('tar', ['-xf', join(dir, 'context.tar'), '-C', context]);
	const dockerfile = join(context, args.dockerfile ?? 'Dockerfile');
	if (!args.no_dockerfile && !existsSync(dockerfile) && existsSync(join(dir, 'Dockerfile'))) {
		mkdirSync(dirname(dockerfile), { recursive: true });
		cpSync(join(dir, 'Dockerfile'), dockerfile);
	}
	if (args.setup) execFileSync('bash', ['-c', args.setup], { cwd: context });
	return context;
}

function prefixed(prefix: string, values: Readonly<Record<string, string>> = {}): Record<string, string> {
	return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}${key}`, value]));
}

/** The image config as the recorded ones are written: empty members gone, times and layers left out. */
function normalize(image: Image): Record<string, unknown> {
	const config = Object.fromEntries(Object.entries(image.config).filter(([, value]) => value !== '' && value !== false && Object.keys(Object(value)).length + Number(typeof value !== 'object') > 0));
	return JSON.parse(JSON.stringify({
		architecture: image.architecture,
		os: image.os,
		config,
		...(image.variant ? { variant: image.variant } : {}),
		...(image.author ? { author: image.author } : {}),
		history: (image.history ?? []).map(({ created: _time, ...entry }) => entry),
	})) as Record<string, unknown>;
}

/** Not the frontend's alone: other sources, the command line, what a machine has to have. */
function isWhole({ build_args, flags, stdin, context, env, tags }: CaseArgs): boolean {
	return flags !== undefined || stdin !== undefined || context !== undefined || env !== undefined || tags.some((tag) => ['context', 'epoch', 'git', 'http', 'random-suggestion', 'special', 'ssh'].includes(tag)) || build_args?.['SOURCE_DATE_EPOCH'] !== undefined;
}

const seen = new Set<string>();
for (const directory of directories) {
	for (const name of readdirSync(directory).filter((entry) => !entry.startsWith('_') && !seen.has(entry)).sort()) {
		seen.add(name);
		const dir = join(directory, name);
		const args = JSON.parse(readFileSync(join(dir, 'args.json'), 'utf8')) as CaseArgs;
		if (isWhole(args)) continue;
		test(name, async (t) => {
			const expected = JSON.parse(readFileSync(join(dir, 'expected.json'), 'utf8')) as Expected;
			const context = materialise(dir, args);
			t.teardown(() => rmSync(context, { recursive: true, force: true }));
			const locals = prefixed('', Object.fromEntries(Object.entries(args.local_contexts ?? {}).map(([key, path]) => [key, join(dir, path)])));
			const client = fakeClient({
				locals: { context, dockerfile: context, ...locals },
				images: { '127.0.0.1:5000/busybox:latest': busybox },
				opts: {
					filename: args.dockerfile ?? 'Dockerfile',
					...prefixed('build-arg:', args.build_args),
					...prefixed('label:', args.labels),
					...Object.fromEntries(Object.keys(args.local_contexts ?? {}).map((key) => [`context:${key}`, `local:${key}`])),
					...args.opts,
					...(args.target ? { target: args.target } : {}),
					...(args.platform ? { platform: args.platform } : {}),
				},
			});
			const outcome = await buildDockerfile(client).catch((error: unknown) => error as Error);
			if (expected.status === 'fail' && !runtime.test(expected.error ?? '')) {
				if (!(outcome instanceof Error)) return t.fail(`should have failed with ${expected.error}`);
				const sources = outcome instanceof FrontendError ? outcome.sources : [];
				const shown = sources.map(formatSource).join('');
				t.is(outcome.message.replace(/sha256:[0-9a-f]{64}/g, 'sha256:<digest>'), expected.error ?? '');
				t.deepEqual([...shown.matchAll(/^ *(\d+) \| >>>/gm)].map((match) => Number(match[1])), [...(expected.error_lines ?? [])]);
				return undefined;
			}
			if (outcome instanceof Error) throw outcome;
			const [result] = outcome.platforms;
			t.truthy(result);
			if (expected.config && result) {
				const { layers: _layers, ...config } = expected.config;
				t.deepEqual(normalize(result.imageConfig), config);
			}
			return undefined;
		});
	}
}
