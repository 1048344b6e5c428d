// Runs a command and measures it: wall time, CPU of it and all it waited for, and the peak of the memory
// (resident set) of all its processes together.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';

export interface Measurement {
	readonly wallSeconds: number;
	readonly cpuSeconds: number;
	readonly peakRssMiB: number;
	readonly exitCode: number;
	readonly output: string;
}

const sampleMs = 20;
const pageSize = 4096;

/** Runs `command` with `args`; its output is kept, not shown. A `daemon` that does the work is counted with it. */
export async function measure(
	command: string, args: readonly string[],
	{ daemon, ...options }: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly daemon?: number } = {},
): Promise<Measurement> {
	const daemonBefore = daemon === undefined ? 0 : cpuSecondsOf(daemon);
	const started = performance.now();
	// The shell's `times` counts everything that was waited for, however deep.
	const child = spawn('bash', ['-c', '"$@"; code=$?; times >&3; exit $code', '--', command, ...args], { stdio: ['ignore', 'pipe', 'pipe', 'pipe'], ...options });
	let output = '';
	let times = '';
	for (const stream of [child.stdout, child.stderr]) stream?.setEncoding('utf8').on('data', (text: string) => { output += text; });
	(child.stdio[3] as Readable).setEncoding('utf8').on('data', (text: string) => { times += text; });
	let peak = 0;
	const sample = (): void => {
		const rss = [child.pid ?? 0, ...(daemon === undefined ? [] : [daemon])].flatMap(descendants).reduce((sum, pid) => sum + rssMiB(pid), 0);
		peak = Math.max(peak, rss);
	};
	const timer = setInterval(sample, sampleMs);
	const exitCode = await new Promise<number>((resolve, reject) => {
		child.once('error', reject);
		child.once('close', (code) => { resolve(code ?? -1); });
	});
	clearInterval(timer);
	return {
		wallSeconds: (performance.now() - started) / 1000,
		cpuSeconds: childSeconds(times) + (daemon === undefined ? 0 : cpuSecondsOf(daemon) - daemonBefore),
		peakRssMiB: peak,
		exitCode,
		output,
	};
}

/** The processes whose program has this name. */
export function processesCalled(name: string): number[] {
	return readdirSync('/proc').filter((pid) => /^\d+$/.test(pid)).map(Number).filter((pid) => commandName(pid) === name);
}

function commandName(pid: number): string | undefined {
	try {
		return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
	} catch {
		return undefined;
	}
}

/** CPU of a process and of the children it has waited for, in seconds (proc(5), fields 14 to 17, in ticks of 10 ms). */
function cpuSecondsOf(pid: number): number {
	return (stat(pid) ?? []).slice(11, 15).reduce((sum, ticks) => sum + Number(ticks), 0) / 100;
}

/** A process and everything below it. */
function descendants(root: number): number[] {
	const parents = new Map<number, number>();
	for (const name of readdirSync('/proc')) {
		if (!/^\d+$/.test(name)) continue;
		const fields = stat(Number(name));
		if (fields) parents.set(Number(name), Number(fields[1]));
	}
	const isBelow = (pid: number): boolean => pid === root || (parents.has(pid) && pid > 1 && isBelow(parents.get(pid) ?? 0));
	return [...parents.keys()].filter(isBelow);
}

function rssMiB(pid: number): number {
	return (Number(stat(pid)?.[21] ?? 0) * pageSize) / 2 ** 20;
}

/** User and system time of the children, from the second line of `times`: `0m1.234s 0m0.567s`. */
function childSeconds(times: string): number {
	const line = times.trim().split('\n')[1] ?? '';
	return [...line.matchAll(/(\d+)m([\d.]+)s/g)].reduce((sum, [, minutes, seconds]) => sum + Number(minutes) * 60 + Number(seconds), 0);
}

/** Fields of /proc/PID/stat from the state on. */
function stat(pid: number): string[] | undefined {
	try {
		const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
		return text.slice(text.lastIndexOf(')') + 2).split(' ');
	} catch {
		return undefined;
	}
}

export function median(values: readonly number[]): number {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
