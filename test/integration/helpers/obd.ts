// Runs the real command line programs on a store of the test's own, as a user would.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { InstanceWatch } from './instances.js';

const program = (name: string): string => fileURLToPath(new URL(`../../../src/cli/${name}.js`, import.meta.url));

/** A store with everything a build may leave files in below one directory. */
export interface TestStore {
	/** Parent of all: `root`, `tmp`, `home`, and what the test likes to put there. */
	readonly directory: string;
	/** `--root` of the builds. */
	readonly root: string;
	/** TMPDIR of the builds. */
	readonly tmp: string;
	readonly instances: InstanceWatch;
	/** Those that were started on it. */
	readonly programs: Set<RunningProgram>;
	/** Ends the programs a failed test left running: a test process that has any does not end. */
	dispose(): Promise<void>;
}

/** Milliseconds for a program to end in order before its store is removed. */
const endPatience = 20_000;


/** `root`: an existing empty directory to use instead of one beside the others. */
export async function makeStore(options: { readonly root?: string } = {}): Promise<TestStore> {
	const directory = await mkdtemp(path.join(tmpdir(), 'obd-build-test-'));
	const root = options.root ?? path.join(directory, 'root');
	for (const name of ['tmp', 'home']) await mkdir(path.join(directory, name));
	const instances = await InstanceWatch.start(root);
	const programs = new Set<RunningProgram>();
	return {
		directory,
		root,
		tmp: path.join(directory, 'tmp'),
		instances,
		programs,
		dispose: async () => {
			instances.stop();
			await Promise.all([...programs].map(end));
			await rm(directory, { recursive: true, force: true });
		},
	};
}

async function end(program: RunningProgram): Promise<void> {
	program.kill('SIGTERM');
	const impatient = setTimeout(() => { program.kill('SIGKILL'); }, endPatience);
	await program.ended.catch(() => undefined); // it could not be started
	clearTimeout(impatient);
}

/** Writes a build context: paths and contents. A new directory below the store's. */
export async function makeContext(store: TestStore, files: Readonly<Record<string, string | Buffer>>): Promise<string> {
	const directory = await mkdtemp(path.join(store.directory, 'context-'));
	await writeFiles(directory, files);
	return directory;
}

export async function writeFiles(directory: string, files: Readonly<Record<string, string | Buffer>>): Promise<void> {
	for (const [name, content] of Object.entries(files)) {
		const file = path.join(directory, name);
		await mkdir(path.dirname(file), { recursive: true });
		await writeFile(file, content);
	}
}

export interface ProgramResult {
	readonly code: number | null;
	readonly signal: NodeJS.Signals | null;
	readonly stdout: string;
	readonly stderr: string;
}

export interface RunOptions {
	readonly env?: Readonly<Record<string, string>>;
	readonly stdin?: string;
	readonly cwd?: string;
	/** A file that gets the programs it starts and the mounts it makes, with those of its children, as strace prints them. */
	readonly trace?: string;
	/** Capabilities it does not get, as setpriv names them. */
	readonly without?: readonly string[];
}

/** A program that runs. */
export interface RunningProgram {
	readonly pid: number;
	readonly stderr: () => string;
	/** Resolves once stderr matches; rejects when the program ends without. */
	seen(pattern: RegExp): Promise<void>;
	/** Kills the program alone. */
	kill(signal: NodeJS.Signals): void;
	/** What Ctrl-C on a terminal does: SIGINT to the program and everything it started that is in its process group. */
	interrupt(): void;
	readonly ended: Promise<ProgramResult>;
}

/** Starts obd-build with plain progress. */
export function startObd(store: TestStore, args: readonly string[], options: RunOptions = {}): RunningProgram {
	return start('obd-build', ['--root', store.root, '--progress', 'plain', ...args], store, options);
}

export function runObd(store: TestStore, args: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
	return startObd(store, args, options).ended;
}

/** Runs obd-build; throws its output when it fails. */
export async function build(store: TestStore, args: readonly string[], options: RunOptions = {}): Promise<ProgramResult> {
	const result = await runObd(store, args, options);
	if (result.code !== 0) throw new Error(`obd-build ${args.join(' ')} ended with ${result.code ?? result.signal}:\n${result.stderr}`);
	return result;
}

export function startObdBuildd(store: TestStore, args: readonly string[]): RunningProgram {
	return start('obd-buildd', ['--root', store.root, ...args], store, {});
}

export function runObdBuildd(store: TestStore, args: readonly string[]): Promise<ProgramResult> {
	return startObdBuildd(store, args).ended;
}

export function startObdImage(store: TestStore, args: readonly string[]): RunningProgram {
	return start('obd-image', args, store, {});
}

export function runObdImage(store: TestStore, args: readonly string[]): Promise<ProgramResult> {
	return startObdImage(store, args).ended;
}

function start(name: string, args: readonly string[], store: TestStore, { env = {}, stdin, cwd = store.directory, trace, without = [] }: RunOptions): RunningProgram {
	const tracer = trace === undefined ? [] : ['strace', '-f', '-qq', '-o', trace, '-e', 'trace=execve,mount,fsmount', '-e', 'signal=none'];
	// It ends with the test, also when that is killed before its teardown.
	const dropped = without.length > 0 ? ['--bounding-set', without.map((name) => `-${name}`).join(',')] : [];
	const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...dropped, ...tracer, process.execPath, program(name), ...args], {
		cwd,
		env: { PATH: process.env['PATH'], HOME: path.join(store.directory, 'home'), TMPDIR: store.tmp, ...env },
		detached: true,
		stdio: [stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
	});
	child.stdin?.end(stdin);
	const running = watch(child);
	store.programs.add(running);
	return running;
}

function watch(child: ChildProcess): RunningProgram {
	const output = { stdout: '', stderr: '' };
	const waiting = new Set<() => void>();
	let result: ProgramResult | undefined;
	for (const name of ['stdout', 'stderr'] as const) {
		child[name]?.setEncoding('utf8').on('data', (text: string) => {
			output[name] += text;
			for (const look of waiting) look();
		});
	}
	const ended = new Promise<ProgramResult>((resolve, reject) => {
		child.once('error', reject);
		child.once('close', (code, signal) => {
			resolve(result = { code, signal, ...output });
			for (const look of waiting) look();
		});
	});
	return {
		pid: child.pid ?? 0,
		stderr: () => output.stderr,
		seen: (pattern) => new Promise((resolve, reject) => {
			const look = (): void => {
				if (!pattern.test(output.stderr) && result === undefined) return;
				waiting.delete(look);
				if (pattern.test(output.stderr)) resolve();
				else reject(new Error(`the program ended (${result?.code ?? result?.signal}) before it printed ${String(pattern)}:\n${output.stderr}`));
			};
			waiting.add(look);
			look();
		}),
		kill: (signal) => { child.kill(signal); },
		interrupt: () => { process.kill(-(child.pid ?? process.pid), 'SIGINT'); },
		ended,
	};
}

/** The steps of plain progress: what each vertex is called, and whether it was cached, done, failed or canceled. */
export function steps(stderr: string): { readonly name: string; readonly state: string }[] {
	const names = new Map<string, string>();
	const states = new Map<string, string>();
	for (const line of stderr.split('\n')) {
		const [, number, text] = /^#(\d+) (.*)$/.exec(line) ?? [];
		if (number === undefined || text === undefined) continue;
		if (!names.has(number)) names.set(number, text);
		const [, state] = /^(CACHED|DONE|ERROR|CANCELED)\b/.exec(text) ?? [];
		if (state !== undefined) states.set(number, state);
	}
	return [...names].map(([number, name]) => ({ name, state: states.get(number) ?? '' }));
}

/** State of the one step whose name matches. */
export function stateOf(stderr: string, name: RegExp): string {
	const found = steps(stderr).filter((step) => name.test(step.name));
	if (found.length !== 1) throw new Error(`${found.length} steps match ${String(name)}:\n${stderr}`);
	return found[0]?.state ?? '';
}
