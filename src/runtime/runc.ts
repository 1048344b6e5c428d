// The runc program: one container from start to end.
import { access, readdir, readFile, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { WriteStream } from 'node:tty';
import { setWindowSize, spawnProcess, type ProcessExit, type ProcessInput, type RunningProcess } from '../native/runtime.js';
import { umountIfMounted } from '../native/system.js';
import type { ContainerProcess } from './container-spec.js';

export interface RuncOptions {
	/** runc's state directory. */
	readonly root: string;
	readonly bundle: string;
	readonly id: string;
	/** A file with the process to run in a container that runs already; else the bundle's is run in a new one. */
	readonly process?: string;
	readonly input?: ProcessInput | undefined;
	readonly onOutput: (stream: 1 | 2, data: Uint8Array) => void;
	readonly onStart?: ((process: ContainerProcess) => void) | undefined;
	/** Kills what runs in the container, and runc with it. */
	readonly signal?: AbortSignal | undefined;
}

/** Milliseconds after which runc itself is killed when killing what it started has not ended it, and after
 *  which it is given up. */
const patience = 2000;

const SIGKILL = 9;

const environment = (): string[] => [`PATH=${process.env['PATH'] ?? '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'}`];

/**
 * Runs a container, or a process in one, and waits for its end. runc's own errors (a program that does not exist) are printed on
 * its stderr, so they are part of the output, with exit code 1.
 */
export async function runContainer(options: RuncOptions): Promise<ProcessExit> {
	const command = options.process === undefined ? ['run', '--bundle', options.bundle] : ['exec', '--process', options.process];
	const runc = spawnRunc(['--root', options.root, '--log', '/dev/null', ...command, options.id], options.onOutput, options.input);
	const { signal } = options;
	let ended = false;
	const exited = runc.exited.finally(() => { ended = true; });
	const killAll = (): void => { void killDescendants(runc.pid, () => ended); };
	const input = inputStream(runc, options.input);
	try {
		options.onStart?.({
			input,
			kill: (number) => {
				if (number === SIGKILL) killAll();
				else void whenRunning(options, () => ended).then((running) => { if (running && !ended) kill(runc.pid, number); });
			},
			resize: (rows, columns) => { if (options.input === 'terminal' && runc.input !== undefined && !ended) setWindowSize(runc.input, rows, columns); },
		});
		signal?.addEventListener('abort', killAll, { once: true });
		if (signal?.aborted) killAll();
		return await exited;
	} finally {
		signal?.removeEventListener('abort', killAll);
		input?.destroy();
	}
}

/** Waits until the container's first process has started; false when it ended before. */
export async function whenRunning({ root, id }: Pick<RuncOptions, 'root' | 'id'>, ended: () => boolean): Promise<boolean> {
	const there = (name: string): Promise<boolean> => access(path.join(root, id, name)).then(() => true, () => false);
	while (!ended()) {
		// The fifo is what the container's init waits at.
		if (await there('state.json') && !(await there('exec.fifo'))) return true;
		await sleep(5);
	}
	return false;
}

/** Closes the descriptor when it is destroyed. */
function inputStream({ input }: RunningProcess, kind: ProcessInput | undefined): Writable | undefined {
	if (input === undefined) return undefined;
	const stream = kind === 'terminal' ? new WriteStream(input) : new Socket({ fd: input, readable: false, writable: true });
	stream.on('error', () => undefined); // a process need not read
	return stream;
}

/** Kills a container and removes its state and cgroup. A container that does not exist is fine. */
export async function deleteContainer(root: string, id: string): Promise<void> {
	await spawnRunc(['--root', root, '--log', '/dev/null', 'delete', '--force', id], () => undefined).exited;
	await removeState(path.join(root, id));
}

/**
 * runc mounts its own program on a file in the state directory for the moment in which it starts a process
 * (nsenter/cloned_binary.c): when it is killed then, the mount stays. It may also be about to take it away itself.
 */
async function removeState(directory: string): Promise<void> {
	for (const deadline = performance.now() + patience; ; await sleep(5)) {
		for (const name of await readdir(directory).catch(() => [])) await umountIfMounted(path.join(directory, name), { detach: true });
		try {
			await rm(directory, { recursive: true, force: true });
			return;
		} catch (error) {
			if (!isBusy(error) || performance.now() > deadline) throw error;
		}
	}
}

function isBusy(error: unknown): boolean {
	return error instanceof Error && 'code' in error && error.code === 'EBUSY';
}

/**
 * Kills the runc processes that work with a state directory and waits until they are gone: one that dies
 * with its builder may still be in the middle of making a cgroup.
 */
export async function endRunc(root: string): Promise<void> {
	const deadline = performance.now() + patience;
	for (let found = await runcProcesses(root); found.length > 0; found = await runcProcesses(root)) {
		if (performance.now() > deadline) throw new Error(`runc (process ${found.join(', ')}) does not end`);
		for (const pid of found) kill(pid);
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
}

async function runcProcesses(root: string): Promise<readonly number[]> {
	const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
	const commands = await Promise.all(pids.map(async (pid) => ({ pid: Number(pid), args: (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0') })));
	return commands.filter(({ args }) => args[1] === '--root' && args[2] === root).map(({ pid }) => pid);
}

function spawnRunc(args: readonly string[], onOutput: RuncOptions['onOutput'], input: ProcessInput = 'none'): RunningProcess {
	for (const program of ['buildkit-runc', 'runc']) {
		try {
			return spawnProcess([program, ...args], environment(), onOutput, input);
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
		}
	}
	throw new Error('runc is not in the PATH: RUN needs it (Debian package: runc)');
}

/**
 * Kills the children of runc again and again until it ends. While the container is being made these are
 * runc's helpers, then the container's init, with which all its processes die. runc sees its child end and
 * cleans up.
 */
async function killDescendants(runc: number, ended: () => boolean): Promise<void> {
	const deadline = performance.now() + patience;
	while (!ended()) {
		const victims = await children(runc);
		if (ended()) return;
		for (const pid of victims) kill(pid);
		if (performance.now() > deadline) kill(runc);
		await new Promise((resolve) => setTimeout(resolve, 10));
	}
}

async function children(pid: number): Promise<readonly number[]> {
	const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
	const lists = await Promise.all(threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => '')));
	return lists.flatMap((list) => list.split(' ')).filter((child) => child !== '').map(Number);
}

function kill(pid: number, signal = SIGKILL): void {
	try {
		process.kill(pid, signal);
	} catch {
		// it ended by itself
	}
}
