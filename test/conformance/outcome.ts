// What a builder made of a case, in the form expectations are written in.
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { extract } from 'tar-stream';
import { Readable } from 'node:stream';
import { layOut, readArgs } from './case.js';
import { readLayers, type RootFs } from './root-fs.js';
import type { Surroundings } from './surroundings.js';

/** `expected.json` holds this with `rootfs` as a difference: see expected.ts. */
export interface Outcome {
	readonly status: 'ok' | 'fail';
	/** Of a failure: what follows `ERROR: failed to build: failed to solve:`, and the marked lines of the source. */
	readonly error?: string;
	readonly error_lines?: readonly number[];
	/** What the build warns of, as shown at its end. */
	readonly warnings?: readonly string[];
	/** Of a --call. */
	readonly stdout?: string;
	readonly config?: ImageDocument;
	readonly rootfs?: RootFs;
}

export interface ImageDocument {
	readonly architecture: string;
	readonly os: string;
	readonly variant?: string;
	readonly author?: string;
	/** Only with SOURCE_DATE_EPOCH. */
	readonly created?: string;
	readonly config: Readonly<Record<string, unknown>>;
	readonly history: readonly Readonly<Record<string, unknown>>[];
	readonly layers: number;
}

/** A command with everything before the case's own flags, e.g. `docker-buildx build --builder x`. */
export interface BuilderProgram {
	readonly command: readonly [string, ...string[]];
	readonly env: Readonly<Record<string, string>>;
	/** Undone before outputs are compared, such as the name of the program. */
	readonly clean?: (text: string) => string;
}

export async function runCase(name: string, program: BuilderProgram, surroundings: Surroundings): Promise<Outcome> {
	const args = readArgs(name);
	const directory = path.join(surroundings.directory, 'cases', name);
	mkdirSync(directory, { recursive: true });
	try {
		const { flags, context, stdin, env } = layOut(name, directory, surroundings);
		const isCall = flags.some((flag) => /^--c(all|heck)/.test(flag));
		const archive = path.join(directory, 'image.tar');
		const output = isCall || flags.some((flag) => /^(-o|--output)/.test(flag)) ? [] : ['--output', `type=oci,compression=gzip,dest=${archive}`];
		const [command, ...more] = program.command;
		const runOnce = (): Promise<Ran> => run(command, [...more, ...flags, ...output, context], { stdin, cwd: directory, env: { ...program.env, SSH_AUTH_SOCK: surroundings.agent, ...env } });
		let result = await runOnce();
		for (let runs = 1; runs < (args.repeat ?? 1) && result.code === 0; runs++) result = await runOnce();
		const clean = (text: string): string => {
			const shown = cleaned((program.clean ?? String)(surroundings.restore(text)), directory);
			return args.tags.includes('random-suggestion') ? shown.replace(/ \(did you mean [^)]*\)/g, '') : shown;
		};
		const stderr = clean(result.stderr);
		const warnings = warningsOf(stderr);
		const shown = { ...(warnings.length > 0 && { warnings }), ...(isCall && { stdout: withoutSources(clean(result.stdout)) }) };
		if (result.code !== 0) return { status: 'fail', ...(!isCall || /^ERROR: /m.test(stderr) ? failureOf(stderr) : {}), ...shown };
		if (isCall) return { status: 'ok', ...shown };
		const image = await readImage(readFileSync(archive));
		const document = JSON.parse(surroundings.restore(JSON.stringify(image.config))) as RawImage;
		return { status: 'ok', ...shown, config: normalized(document, flags.some((flag) => flag.startsWith('SOURCE_DATE_EPOCH=')) || 'SOURCE_DATE_EPOCH' in env), rootfs: withoutTimes(image.rootfs, args.mtimes === true) };
	} finally {
		rmSync(directory, { recursive: true, force: true });
	}
}

interface Ran {
	readonly code: number | null;
	readonly stdout: string;
	readonly stderr: string;
}

function run(command: string, args: readonly string[], { stdin, cwd, env }: { readonly stdin: Buffer | undefined; readonly cwd: string; readonly env: Readonly<Record<string, string>> }): Promise<Ran> {
	return new Promise((resolve, reject) => {
		// It ends with the test, also when that is killed before its teardown.
		const child = spawn('setpriv', ['--pdeathsig', 'KILL', command, ...args], { cwd, env: { PATH: process.env['PATH'] ?? '', ...env }, stdio: 'pipe' });
		child.stdin.on('error', () => undefined);
		child.stdin.end(stdin);
		let [stdout, stderr] = ['', ''];
		child.stdout.setEncoding('utf8').on('data', (text: string) => { stdout += text; });
		child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text; });
		child.once('error', reject);
		child.once('close', (code) => { resolve({ code, stdout, stderr }); });
	});
}

/**
 * Without what differs from run to run (directories, digests, ids) or tells how the builder is made (the mount a file was
 * in, messages' way over gRPC).
 */
function cleaned(text: string, directory: string): string {
	return text
		.replace(/\x1b\[\d*m/g, '')
		.replaceAll(directory, '<tmp>')
		.replace(/\/[^\s"':]*\/(cachemounts\/buildkit\d+|snapshots\/\d+\/fs)/g, '')
		.replace('rpc error: code = Unknown desc = ', '')
		.replace(/\bref \S+::\S+:/g, 'ref <id>::<id>:')
		.replace(/sha256:[0-9a-f]{64}/g, 'sha256:<digest>')
		.replace(/\b(?=[a-z0-9]*\d)[a-z0-9]{25}\b/g, '<id>');
}

/** A JSON answer holds the Dockerfile as a vertex with the ids of the run. */
function withoutSources(answer: string): string {
	if (!answer.startsWith('{')) return answer;
	const { sources: _sources, ...rest } = JSON.parse(answer) as Readonly<Record<string, unknown>>;
	return JSON.stringify(rest);
}

function failureOf(stderr: string): { readonly error: string; readonly error_lines: readonly number[] } {
	const at = stderr.lastIndexOf('\nERROR: ') + 1;
	const error = stderr.slice(at).replace(/^ERROR: /, '').replace(/^failed to build: /, '').replace(/^(failed to solve: )*/, '').trim();
	return { error, error_lines: [...stderr.matchAll(/^ *(\d+) \| >>>/gm)].map((match) => Number(match[1])) };
}

function warningsOf(stderr: string): string[] {
	const list = /^ \d+ warnings? found.*:\n((?: - .*\n)*)/m.exec(stderr)?.[1] ?? '';
	return list.split('\n').filter((line) => line !== '').map((line) => line.slice(' - '.length)).sort();
}

interface RawImage {
	readonly architecture: string;
	readonly os: string;
	readonly variant?: string;
	readonly author?: string;
	readonly created?: string;
	readonly config?: Readonly<Record<string, unknown>>;
	readonly history?: readonly Readonly<Record<string, unknown>>[];
	readonly rootfs: { readonly diff_ids: readonly string[] | null };
}

function normalized(image: RawImage, withTimes: boolean): ImageDocument {
	const isEmpty = (value: unknown): boolean => value === null || value === '' || value === false || (typeof value === 'object' && Object.keys(value).length === 0);
	const history = (image.history ?? []).map(({ created, ...entry }) => ({ ...entry, ...(withTimes && { created }) }));
	return {
		architecture: image.architecture,
		os: image.os,
		...(image.variant !== undefined && { variant: image.variant }),
		...(image.author !== undefined && { author: image.author }),
		...(withTimes && image.created !== undefined && { created: image.created }),
		config: Object.fromEntries(Object.entries(image.config ?? {}).filter(([, value]) => !isEmpty(value))),
		history: JSON.parse(cleaned(JSON.stringify(history), '<none>')) as ImageDocument['history'],
		layers: image.rootfs.diff_ids?.length ?? 0,
	};
}

function withoutTimes(rootfs: RootFs, keep: boolean): RootFs {
	return keep ? rootfs : Object.fromEntries(Object.entries(rootfs).map(([file, { mtime: _mtime, ...entry }]) => [file, entry]));
}

interface Document {
	readonly manifests?: readonly { readonly digest: string; readonly annotations?: Readonly<Record<string, string>> }[];
	readonly config: { readonly digest: string };
	/** null of an image without. */
	readonly layers: readonly { readonly digest: string; readonly mediaType: string }[] | null;
}

/** The (first) image of an OCI layout in a tar. */
async function readImage(tar: Buffer): Promise<{ readonly config: RawImage; readonly rootfs: RootFs }> {
	const files = new Map<string, Buffer>();
	for await (const entry of Readable.from([tar]).pipe(extract())) {
		const chunks: Buffer[] = [];
		for await (const chunk of entry as AsyncIterable<Buffer>) chunks.push(chunk);
		files.set(entry.header.name, Buffer.concat(chunks));
	}
	const read = (name: string): Buffer => {
		const bytes = files.get(name);
		if (!bytes) throw new Error(`the image has no ${name}`);
		return bytes;
	};
	const blob = (digest: string): Buffer => read(`blobs/${digest.replace(':', '/')}`);
	let document = JSON.parse(read('index.json').toString()) as Document;
	while (document.manifests) {
		const [first] = document.manifests.filter(({ annotations }) => annotations?.['vnd.docker.reference.type'] === undefined);
		document = JSON.parse(blob(first?.digest ?? '').toString()) as Document;
	}
	const layers = (document.layers ?? []).map(({ digest, mediaType }) => (mediaType.endsWith('gzip') ? gunzipSync(blob(digest)) : blob(digest)));
	return { config: JSON.parse(blob(document.config.digest).toString()) as RawImage, rootfs: await readLayers(layers) };
}
