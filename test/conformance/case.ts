// One conformance case (testdata/conformance/cases): what it holds, and laying it out for a build.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, lstatSync, lutimesSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import type { Surroundings } from './surroundings.js';

/** `args.json`. Hosts in it and in Dockerfiles stand for those of the run: see {@link Surroundings.substitute}. */
export interface CaseArgs {
	readonly dockerfile?: string;
	readonly no_dockerfile?: boolean;
	readonly build_args?: Readonly<Record<string, string>>;
	readonly labels?: Readonly<Record<string, string>>;
	readonly target?: string;
	readonly platform?: string;
	readonly secrets?: readonly { readonly id: string; readonly content: string }[];
	readonly allow?: readonly string[];
	/** Frontend options; of these only `context:NAME`, as --build-context. */
	readonly opts?: Readonly<Record<string, string>>;
	/** --build-context of directories of the case. */
	readonly local_contexts?: Readonly<Record<string, string>>;
	/** Shell run in the context; `$WEB` is what is served as http://127.0.0.1:8000/CASE/, `$REGISTRY` the registry. */
	readonly setup?: string;
	/** Further flags; `{context}` and `{web}` are the directories. */
	readonly flags?: readonly string[];
	/** Instead of the context's directory. */
	readonly context?: string;
	/** What goes to standard input: a file of the context, or `tar`, `tar.gz` for the context itself. */
	readonly stdin?: string;
	readonly env?: Readonly<Record<string, string>>;
	/** The build runs so often; the last one counts. */
	readonly repeat?: number;
	/** Modification times are compared as well. */
	readonly mtimes?: boolean;
	readonly tags: readonly string[];
	readonly source?: string;
	readonly note?: string;
}

/** A case laid out: what a builder's command line needs. */
export interface LaidOut {
	/** Flags as `docker buildx build` takes them, without output. */
	readonly flags: readonly string[];
	readonly context: string;
	readonly stdin: Buffer | undefined;
	readonly env: Readonly<Record<string, string>>;
}

export const casesDirectory = path.resolve(import.meta.dirname, '../../../testdata/conformance/cases');

export function caseNames(): string[] {
	return readdirSync(casesDirectory).sort();
}

export function readArgs(name: string): CaseArgs {
	return JSON.parse(readFileSync(path.join(casesDirectory, name, 'args.json'), 'utf8')) as CaseArgs;
}

/** Lays the case out below `directory` (absent so far). */
export function layOut(name: string, directory: string, surroundings: Surroundings): LaidOut {
	const from = path.join(casesDirectory, name);
	const args = readArgs(name);
	const substitute = (text: string): string => surroundings.substitute(text);
	const context = path.join(directory, 'context');
	const web = path.join(surroundings.webRoot, name);
	mkdirSync(context, { recursive: true });
	if (existsSync(path.join(from, 'context.tar'))) {
		execFileSync('tar', ['--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpf', path.join(from, 'context.tar'), '-C', context]);
	} else if (existsSync(path.join(from, 'context'))) {
		copyPlain(path.join(from, 'context'), context);
	}
	const dockerfile = path.join(context, args.dockerfile ?? 'Dockerfile');
	if (args.no_dockerfile !== true && !existsSync(dockerfile) && existsSync(path.join(from, 'Dockerfile'))) {
		mkdirSync(path.dirname(dockerfile), { recursive: true });
		copyPlain(path.join(from, 'Dockerfile'), dockerfile);
	}
	substituteDockerfiles(context, substitute);
	const env = Object.fromEntries(Object.entries(args.env ?? {}).map(([key, value]) => [key, substitute(value)]));
	if (args.setup !== undefined) {
		mkdirSync(web, { recursive: true });
		execFileSync('bash', ['-euc', substitute(args.setup)], { cwd: context, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ...surroundings.gitEnv, ...env, WEB: web, REGISTRY: surroundings.registry } });
	}
	// Fixed, but another in each case: builders take files of equal names, sizes and times for equal.
	const mtime = 1_485_449_953 + crc32(name) % 200_000_000;
	setTimes(context, mtime);
	for (const [key, relative] of Object.entries(args.local_contexts ?? {})) {
		copyPlain(path.join(from, relative), path.join(directory, `context-${key}`));
		setTimes(path.join(directory, `context-${key}`), mtime);
	}
	const place = (text: string): string => substitute(text).replaceAll('{context}', context).replaceAll('{web}', web);
	return {
		flags: [...dockerFlags(args, context, directory, substitute), ...(args.flags ?? []).map(place)],
		context: args.context === undefined ? context : place(args.context),
		stdin: standardInput(args, context),
		env,
	};
}

function dockerFlags(args: CaseArgs, context: string, directory: string, substitute: (text: string) => string): string[] {
	const secrets = (args.secrets ?? []).map(({ id, content }, i) => {
		const file = path.join(directory, `secret-${i}`);
		writeFileSync(file, content);
		return `id=${id},src=${file}`;
	});
	const each = (flag: string, values: readonly string[]): string[] => values.flatMap((value) => [flag, substitute(value)]);
	const pairs = (values: Readonly<Record<string, string>> = {}): string[] => Object.entries(values).map(([key, value]) => `${key}=${value}`);
	return [
		...(args.context === undefined && args.stdin === undefined ? ['-f', path.join(context, args.dockerfile ?? 'Dockerfile')] : []),
		...each('--build-arg', pairs(args.build_args)),
		...each('--label', pairs(args.labels)),
		...each('--target', args.target === undefined ? [] : [args.target]),
		...each('--platform', args.platform === undefined ? [] : [args.platform]),
		...each('--secret', secrets),
		...each('--allow', args.allow ?? []),
		...each('--build-context', pairs(args.opts).map((pair) => pair.replace(/^context:/, ''))),
		...each('--build-context', Object.keys(args.local_contexts ?? {}).map((key) => `${key}=${path.join(directory, `context-${key}`)}`)),
	];
}

/** Modes as a checkout with umask 022 gives them, whatever this one's was. */
function copyPlain(from: string, to: string): void {
	cpSync(from, to, { recursive: true, verbatimSymlinks: true });
	execFileSync('chmod', ['-R', 'u=rwX,go=rX', to]);
}

function substituteDockerfiles(directory: string, substitute: (text: string) => string): void {
	for (const entry of readdirSync(directory, { recursive: true, withFileTypes: true })) {
		if (!entry.isFile() || !entry.name.includes('Dockerfile')) continue;
		const file = path.join(entry.parentPath, entry.name);
		const text = readFileSync(file, 'latin1');
		const changed = substitute(text);
		if (changed !== text) writeFileSync(file, changed, 'latin1');
	}
}

function setTimes(root: string, seconds: number): void {
	if (lstatSync(root).isDirectory()) for (const name of readdirSync(root)) setTimes(path.join(root, name), seconds);
	lutimesSync(root, seconds, seconds);
}

function standardInput({ stdin }: CaseArgs, context: string): Buffer | undefined {
	if (stdin === undefined) return undefined;
	if (!stdin.startsWith('tar')) return readFileSync(path.join(context, stdin));
	return execFileSync('tar', ['--numeric-owner', '--owner=0', '--group=0', '--sort=name', ...(stdin === 'tar.gz' ? ['-z'] : []), '-cf', '-', '-C', context, '.']);
}
